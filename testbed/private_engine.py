"""A Docker engine of one's own, to be killed and stopped without harm: ``testbed/docker/up.sh`` in a folder."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from testbed.remains import make_folder

SCRIPTS = Path(__file__).parent / "docker"


class PrivateEngine:
    """An engine without a network, so that any number of them get along. Needs root."""

    def __init__(self, *options: str) -> None:
        self.folder = make_folder("pman-engine-")
        self.folder.chmod(0o711)
        self.socket = self.folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._options = ("--bridge=none", "--iptables=false", *options)

    def start(self) -> None:
        """Start it, or what of it does not run."""
        self._script("up.sh", DOCKERD_OPTS=" ".join(self._options))

    def close(self) -> None:
        """End it and delete everything."""
        with suppress(OSError):  # it was killed, or has never come up: the rest of it is there all the same
            self.signal(signal.SIGCONT)
        self._script("down.sh", DOCKER_WIPE="1")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to dockerd."""
        pid = (self.folder / "run" / "main-dockerd.pid").read_text()
        os.kill(int(pid), number)

    def _script(self, name: str, **more: str) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER")}
        own = {"DOCKER_HOME": str(self.folder), "DOCKER_SOCK": str(self.socket)}
        done = subprocess.run([SCRIPTS / name], env=env | own | more, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")

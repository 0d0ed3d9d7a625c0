"""A swarm of one's own, to be torn to pieces without harm: ``testbed/docker/up.sh`` in namespaces of its own.

The manager and the workers w1, w2 ... are in a network that nobody else sees, with mounts that nobody else sees: names,
addresses and bridges are the script's own and never meet those of another swarm on this machine. Needs root.
"""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

SCRIPTS = Path(__file__).parent / "docker"
PREPARE = """set -e
ip link set lo up
mount -t tmpfs tmpfs /run/netns
# Nobody answers there, and says so at once: an image that is to be fetched is not waited for.
echo nameserver 127.0.0.1 > "$1/resolv.conf"
mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)"
echo ready
exec sleep infinity
"""


class PrivateSwarm:
    """A manager and ``workers`` more nodes, each with the image busybox:test."""

    def __init__(self, workers: int, *options: str) -> None:
        self.folder = Path(mkdtemp(prefix="pman-swarm-"))
        self.folder.chmod(0o711)
        self.socket = self.folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._settings = {"DOCKER_SWARM_NODES": str(workers), "DOCKERD_OPTS": " ".join(options)}
        Path("/run/netns").mkdir(exist_ok=True)
        spaces = ["unshare", "--net", "--mount", "--uts", "--propagation", "private"]
        # Whatever is to happen in the namespaces enters those of this process.
        keep = [*spaces, "sh", "-c", PREPARE, "keep", str(self.folder)]
        self._keeper = subprocess.Popen(keep, stdout=subprocess.PIPE)
        if self._keeper.stdout is None or not self._keeper.stdout.readline():
            raise RuntimeError("no namespaces of one's own: this needs root")

    def start(self) -> None:
        """Start it, or what of it does not run."""
        self._script("up.sh", **self._settings)

    def signal(self, worker: str, number: signal.Signals) -> None:
        """Send a signal to the engine of a worker."""
        os.kill(self._pid(worker), number)

    def cut(self, worker: str) -> None:
        """Cut a worker off from the manager; its containers go on."""
        self._enter("ip", "link", "set", f"pman{worker}", "down")

    def join(self, worker: str) -> None:
        """Undo :meth:`cut`."""
        self._enter("ip", "link", "set", f"pman{worker}", "up")

    def close(self) -> None:
        """End it and delete everything."""
        for path in (self.folder / "run").glob("*-dockerd.pid"):
            with suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGCONT)
        try:
            self._script("down.sh", DOCKER_WIPE="1")
        finally:
            self._keeper.kill()
            self._keeper.communicate()

    def _pid(self, worker: str) -> int:
        return int((self.folder / "run" / f"{worker}-dockerd.pid").read_text())

    def _script(self, name: str, **more: str) -> None:
        self._enter(str(SCRIPTS / name), **more)

    def _enter(self, *command: str, **more: str) -> None:
        """Run a command in the namespaces; never outside of them, where it would meet other engines."""
        if self._keeper.poll() is not None:
            raise RuntimeError("the namespaces are gone")
        env = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER")}
        own = {"DOCKER_HOME": str(self.folder), "DOCKER_SOCK": str(self.socket)}
        into = ["nsenter", "--target", str(self._keeper.pid), "--net", "--mount", "--uts"]
        done = subprocess.run([*into, *command], env=env | own | more, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")

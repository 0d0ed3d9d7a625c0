"""Records what a real engine says of each outcome: ``python tests/recorded/record_engine.py URL docker|podman``.

Writes ``tests/recorded/<engine>/errors.json`` and ``states.json``, which the unit tests read. The engine needs the
image ``busybox:test``. Ids and times stay as they were; what only swells the files is left out.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError

IMAGE = "busybox:test"
LABELS = {
    "org.chrisproject.pman.jid": "job",
    "org.chrisproject.pman.generation": "01jzzzzzzzzzzzzzzzzzzzzzzz",
    "org.chrisproject.pman.instance": "recorded",
    "org.chrisproject.pman.digest": "d" * 64,
}
SH = ["sh", "-c"]
HUNGRY = [*SH, "exec dd if=/dev/zero of=/dev/null bs=200M count=1"]
LIMIT = {"Memory": 64 << 20, "MemorySwap": 64 << 20}


class Recorder:
    def __init__(self, url: str) -> None:
        self.client = docker.APIClient(url, version="auto", timeout=30)
        self.errors: dict[str, Any] = {}
        self.states: dict[str, Any] = {}

    def refused(self, name: str, doing: str, call: Any, *args: Any, **options: Any) -> Any:
        """Make a call that is expected to fail; keep status and text, or that it did not."""
        try:
            answer = call(*args, **options)
            if doing == "pull":
                lines = list(answer)
                error = _anonymous(next(line["error"] for line in lines if "error" in line))
                self.errors[name] = {"doing": doing, "status": 200, "text": error}
            else:
                self.errors[name] = {"doing": doing, "status": 200, "text": None}
        except APIError as error:
            text = _anonymous(error.explanation)
            self.errors[name] = {"doing": doing, "status": error.response.status_code, "text": text}
        else:
            return answer
        return None

    def create(self, command: list[str], name: str | None = None, **more: Any) -> str:
        host = more.pop("host", {})
        config = {"Image": IMAGE, "Entrypoint": command, "Cmd": [], "Labels": LABELS, "HostConfig": host} | more
        return str(self.client.create_container_from_config(config, name)["Id"])

    def see(self, name: str, container: str) -> None:
        """Keep the parts of the inspection that the parser may look at."""
        found = self.client.inspect_container(container)
        self.states[name] = {
            "Id": found["Id"],
            "State": {key: value for key, value in found["State"].items() if key != "Health"},
            "Config": {"Labels": found["Config"]["Labels"]},
            "HostConfig": {"Memory": found["HostConfig"]["Memory"]},
        }

    def run(self, name: str, command: list[str], **more: Any) -> None:
        container = self.refused(f"create: {name}", "create", self.create, command, **more)
        if container is None:
            return
        del self.errors[f"create: {name}"]
        try:
            self.refused(f"start: {name}", "start", self.client.start, container)
            if self.client.inspect_container(container)["State"]["Status"] != "created":
                self.client.wait(container)
                time.sleep(0.5)
            self.see(name, container)
        finally:
            self.client.remove_container(container, force=True)

    def live(self) -> None:
        container = self.create([*SH, "trap '' TERM; sleep 60 & wait"], "recorded-taken")
        try:
            self.see("created", container)
            self.refused("name taken", "create", self.create, ["true"], "recorded-taken")
            self.refused("kill, not running", "end", self.client.kill, container)
            self.client.start(container)
            self.see("running", container)
            self.refused("start again", "start", self.client.start, container)
            self.client.pause(container)
            self.see("paused", container)
            self.client.unpause(container)
            self.client.kill(container)
            self.client.wait(container)
            time.sleep(0.5)
            self.see("killed", container)
            self.refused("kill, ended", "end", self.client.kill, container)
        finally:
            self.client.remove_container(container, force=True)

    def record(self) -> None:
        self.live()
        self.run("exit 0", ["true"])
        self.run("exit 7", [*SH, "exit 7"])
        self.run("signal 15", [*SH, "sh -c 'kill -TERM $$'; exit $?"])
        self.run("out of memory", HUNGRY, host=LIMIT)
        self.run("out of memory, a child", [*SH, f"{HUNGRY[2].removeprefix('exec ')}; exit 3"], host=LIMIT)
        self.run("no such command", ["/no-such-command"])
        self.run("not executable", ["/etc/passwd"])
        self.run("a folder", ["/tmp"])
        self.run("no such user", ["true"], User="nobody-of-that-name")
        self.run("gpu", ["true"], host={"DeviceRequests": [{"Driver": "", "Count": 1, "Capabilities": [["gpu"]]}]})
        self.run("cdi gpu", ["true"], host={"Devices": [{"PathOnHost": "nvidia.com/gpu=0"}]})
        for name, options in {
            "image absent": {"Image": "no-such-image:1"},
            "image name": {"Image": "UPPER CASE"},
            "cpus": {"host": {"NanoCpus": 999 * 10**9}},
            "little memory": {"host": {"Memory": 1}},
            "source missing": {
                "host": {"Mounts": [{"Type": "bind", "Source": "/no/such/folder", "Target": "/share/incoming"}]}
            },
            "no such network": {"host": {"NetworkMode": "no-such-network"}},
        }.items():
            made = self.refused(name, "create", self.create, ["true"], **options)
            if made:
                self.refused(f"start: {name}", "start", self.client.start, made)
                self.client.remove_container(made, force=True)
        self.refused("inspect, not there", "ask", self.client.inspect_container, "no-such-container")
        self.refused("kill, not there", "end", self.client.kill, "no-such-container")
        self.refused("remove, not there", "end", self.client.remove_container, "no-such-container", force=True)
        self.refused("start, not there", "start", self.client.start, "no-such-container")
        for name, image in {
            "no such host": "registry.invalid/image:1",
            "nobody listens": "127.0.0.1:5999/image:1",
            "no such image": "127.0.0.1:5000/no/such:1",
            "no such tag": "127.0.0.1:5000/pman/test:none",
            "no access": "127.0.0.1:5001/private/test:1",
        }.items():
            self.refused(f"pull: {name}", "pull", self.client.pull, image, stream=True, decode=True)


def _anonymous(text: object) -> str:
    """Hide which name server this machine asks."""
    return re.sub(r" on \S+:53:", " on 192.0.2.53:53:", str(text))


def main() -> None:
    url, engine = sys.argv[1:]
    recorder = Recorder(url)
    recorder.record()
    folder = Path(__file__).parent / engine
    folder.mkdir(exist_ok=True)
    for name, content in {"errors": recorder.errors, "states": recorder.states}.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

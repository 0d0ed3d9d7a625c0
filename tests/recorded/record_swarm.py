"""Records what a real swarm shows of each outcome: ``python tests/recorded/record_swarm.py [URL]``.

Writes ``tests/recorded/swarm/states.json`` and ``errors.json``, which the unit tests read. The swarm is that of
``DOCKER_SWARM_NODES=2 testbed/docker/up.sh``, as root and with DOCKER_HOME as there: its worker ``w1`` is drained,
killed, cut off and removed, and comes back. What a swarm tells of certificates, addresses and plugins is left out.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError

ROOT = Path(__file__).parents[2]
HOME = Path(os.environ.get("DOCKER_HOME", "/var/lib/pman-docker"))
NOWHERE = "node.id==ended-by-pman"
MINE = {
    "org.chrisproject.pman.jid": "job",
    "org.chrisproject.pman.generation": "01jzzzzzzzzzzzzzzzzzzzzzzz",
    "org.chrisproject.pman.instance": "recorded",
    "org.chrisproject.pman.digest": "d" * 64,
}
ENDED = {
    "org.chrisproject.pman.ended": json.dumps(
        {"reason": "CANCELLED", "message": "ended on request", "at": "2026-01-01T00:00:00+00:00"}
    )
}
SLEEP = ["sleep", "1000"]
EAT = ["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=200M count=1"]
MIB = 1 << 20
ENDS = {"complete", "failed", "rejected", "shutdown", "orphaned", "remove"}


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


class Recorder:
    def __init__(self, url: str) -> None:
        self.client = docker.APIClient(url, version="auto", timeout=30)
        self.here = "node.id==" + self.client.info()["Swarm"]["NodeID"]
        self.states: dict[str, Any] = {}
        self.errors: dict[str, Any] = {}
        self.made: list[str] = []

    def create(self, command: list[str], where: str = "", replicas: int = 1, **more: Any) -> str:
        """Make a service as pman does; ``more`` is of its task or of its container."""
        container = {"Image": more.pop("Image", "busybox:test"), "Command": command, "Labels": MINE}
        container |= {"StopSignal": "SIGKILL", "StopGracePeriod": 10**9}
        container |= {key: more.pop(key) for key in ("User", "Mounts", "Env") if key in more}
        body = {
            "Name": more.pop("name", f"pman-recorded-{time.time_ns()}"),
            "Labels": MINE,
            "Mode": {"Replicated": {"Replicas": replicas}},
            "TaskTemplate": {
                "ContainerSpec": container,
                "Resources": more.pop("Resources", {}),
                "RestartPolicy": {"Condition": "none", "MaxAttempts": 4},
                "Placement": {"Constraints": [where or self.here]},
            },
            "UpdateConfig": {"Parallelism": 0, "FailureAction": "continue", "Order": "stop-first"},
        }
        answer = self.client._post_json(self.client._url("/services/create"), data=body)
        service = str(self.client._result(answer, True)["ID"])
        self.made.append(service)
        return service

    def update(self, service: str, change: Callable[[dict[str, Any]], None], behind: int = 0) -> None:
        found = self.client.inspect_service(service)
        change(found["Spec"])
        url = self.client._url("/services/{0}/update", service)
        answer = self.client._post_json(url, params={"version": found["Version"]["Index"] - behind}, data=found["Spec"])
        self.client._result(answer, True)

    def end(self, service: str) -> None:
        def change(spec: dict[str, Any]) -> None:
            spec["Labels"] |= ENDED
            spec["TaskTemplate"]["Placement"]["Constraints"] = [NOWHERE]

        self.update(service, change)

    def tasks(self, service: str) -> list[dict[str, Any]]:
        return [task for task in self.client.tasks() if task["ServiceID"] == service]

    def until(self, service: str, states: set[str], timeout_s: float = 30) -> None:
        """Wait until all tasks are in one of ``states``, but for those that wait for no node."""
        end_s = time.monotonic() + timeout_s
        while True:
            found = [task for task in self.tasks(service) if NOWHERE not in task["Spec"]["Placement"]["Constraints"]]
            if found and all(task["Status"]["State"] in states for task in found):
                return
            if time.monotonic() > end_s:
                raise TimeoutError(f"{service} is not {states}: {[task['Status'] for task in found]}")
            time.sleep(0.05)

    def until_node(self, name: str, state: str, timeout_s: float = 90) -> str:
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            for node in self.client.nodes():
                if node["Description"].get("Hostname") == name and node["Status"]["State"] == state:
                    return str(node["ID"])
            time.sleep(0.2)
        raise TimeoutError(f"node {name} is not {state}")

    def see(self, name: str, service: str) -> None:
        """Keep what the parser may look at."""
        found = self.client.inspect_service(service)
        self.states[name] = {
            "service": {key: found[key] for key in ("ID", "Version", "CreatedAt", "UpdatedAt", "Spec")},
            "tasks": [{key: task[key] for key in task if key != "NetworksAttachments"} for task in self.tasks(service)],
        }
        nodes = [_public(node) for node in self.client.nodes()]
        if name.startswith("node "):
            self.states[name] |= {"nodes": nodes, "now": self.client.info()["SystemTime"]}
        print(name, [task["Status"]["State"] for task in self.states[name]["tasks"]])  # noqa: T201

    def log_of(self, service: str) -> str:
        """Return what the log of the service's first task says, or why it cannot be read."""
        url = self.client._url("/tasks/{0}/logs", self.tasks(service)[0]["ID"])
        try:
            answer = self.client.get(url, params={"stdout": 1, "stderr": 1, "tail": "10"}, timeout=5)
        except requests.RequestException as error:
            return type(error).__name__
        return _anonymous(answer.content.decode(errors="replace"))

    def refused(self, what: str, doing: str, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        try:
            call(*args, **options)
            self.errors[what] = {"doing": doing, "status": 200, "text": None}
        except APIError as error:
            text = _anonymous(str(error.explanation))
            self.errors[what] = {"doing": doing, "status": error.response.status_code, "text": text}

    def run(self, name: str, command: list[str], states: set[str] = ENDS, **more: Any) -> None:
        service = self.create(command, **more)
        self.until(service, states)
        if len(states) < len(ENDS):
            time.sleep(2)  # until it says why, or another replica has ended
        self.see(name, service)
        self.client.remove_service(service)


def _public(node: dict[str, Any]) -> dict[str, Any]:
    description = {key: value for key, value in node["Description"].items() if key in {"Hostname", "Resources"}}
    status = {key: value for key, value in node["Status"].items() if key != "Addr"}
    return {"ID": node["ID"], "UpdatedAt": node["UpdatedAt"], "Description": description, "Status": status}


def _anonymous(text: str) -> str:
    text = re.sub(r"pman-recorded-\d+", "pman-recorded", text)
    return re.sub(r"\b[0-9a-z]{25}\b", "i" * 25, text)


def record_ends(recorder: Recorder) -> None:
    run = recorder.run
    limit = {"Limits": {"MemoryBytes": 64 * MIB}}
    missing = {"Type": "bind", "Source": "/no-such-folder-of-a-recording", "Target": "/m"}
    run("running", SLEEP, {"running"})
    run("complete", ["true"])
    run("exit 7", sh("exit 7"))
    run("signal 15", sh("sh -c 'kill -TERM $$'; exit $?"))
    run("killed", sh("sh -c 'kill -KILL $$'; exit $?"))
    run("out of memory", EAT, Resources=limit)
    run("no such image", ["true"], Image="nowhere/absent:1")
    run("no such command", ["/no/such"])
    run("no such user", ["id"], User="nobodyhere")
    run("mount missing", ["true"], Mounts=[missing])
    run("too many cpus", ["true"], Resources={"Limits": {"NanoCPUs": 10**15}})
    run("no node", ["true"], {"pending"}, where="node.labels.nowhere==1")
    large = {"NanoCPUs": 10**15, "MemoryBytes": 1 << 50}
    run("no resources", ["true"], {"pending"}, Resources={"Reservations": large})
    gpu = [{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 2}}]
    run("no gpu", ["true"], {"pending"}, Resources={"Reservations": {"GenericResources": gpu}})
    run("three complete", ["true"], replicas=3)
    run("two fail", sh('test "$N" = 2 || exit "$N"'), replicas=3, Env=["N={{.Task.Slot}}"])
    run("one fails, two run", sh('test "$N" = 1 && exit 9; sleep 1000'), {"failed", "running"}, replicas=3,
        Env=["N={{.Task.Slot}}"])  # fmt: skip


def record_endings(recorder: Recorder) -> None:
    for name, wait in (("ended while running", True), ("ended at once", False)):
        service = recorder.create(SLEEP)
        if wait:
            recorder.until(service, {"running"})
        recorder.end(service)
        recorder.until(service, ENDS)
        time.sleep(1)
        recorder.see(name, service)
        recorder.client.remove_service(service)
    service = recorder.create(["true"], where="node.labels.nowhere==1")
    recorder.until(service, {"pending"})
    recorder.end(service)
    time.sleep(2)
    recorder.see("ended while pending", service)
    service = recorder.create(SLEEP)
    recorder.until(service, {"running"})
    recorder.update(service, lambda spec: spec["Mode"]["Replicated"].update(Replicas=0))
    time.sleep(0.1)
    recorder.see("scaled to 0", service)
    while recorder.tasks(service):
        time.sleep(0.1)
    recorder.see("scaled to 0, gone", service)


def record_refusals(recorder: Recorder) -> None:
    refused = recorder.refused
    service = recorder.create(SLEEP, name="pman-recorded-name")
    refused("name taken", "create", recorder.create, SLEEP, name="pman-recorded-name")
    refused("out of date", "end", recorder.update, service, lambda _: None, behind=1)
    recorder.client.remove_service(service)
    template = {"ContainerSpec": {"Image": "busybox:test"}}
    refused("removed, update", "end", recorder.client.update_service, service, 1, template, name="x")
    refused("removed, inspect", "ask", recorder.client.inspect_service, service)
    refused("removed, remove", "end", recorder.client.remove_service, service)
    refused("bad image name", "create", recorder.create, SLEEP, Image="UPPER case")
    refused("bad template", "create", recorder.create, SLEEP, Env=["A={{ x"])
    refused("little memory", "create", recorder.create, SLEEP, Resources={"Limits": {"MemoryBytes": 100}})
    refused("too large", "create", recorder.create, ["true", *["x" * 1000] * 2000])
    worker = docker.APIClient(f"unix://{HOME}/w1/docker.sock", version="auto", timeout=30)
    refused("not a manager", "ask", worker.services)


def record_nodes(recorder: Recorder) -> None:
    w1 = "node.hostname==w1"

    def start(command: list[str] = SLEEP) -> str:
        service = recorder.create(command, where=w1)
        recorder.until(service, {"running"})
        return service

    def up() -> str:
        env = os.environ | {"DOCKER_SWARM_NODES": "2"}
        subprocess.run([ROOT / "testbed/docker/up.sh"], check=True, env=env, capture_output=True)
        return recorder.until_node("w1", "ready")

    def set_link(state: str) -> None:
        subprocess.run(["ip", "link", "set", "pmanw1", state], check=True)

    def set_availability(node_id: str, availability: str) -> None:
        node = recorder.client.inspect_node(node_id)
        spec = node["Spec"] | {"Availability": availability}
        recorder.client.update_node(node_id, node["Version"]["Index"], spec)

    node_id = up()
    service = start()
    set_availability(node_id, "drain")
    recorder.until(service, ENDS)
    recorder.see("node drained", service)
    set_availability(node_id, "active")

    service, short = start(), start(sh("sleep 15; exit 4"))
    set_link("down")
    recorder.until_node("w1", "down")
    recorder.see("node cut off", service)
    recorder.errors["node cut off, log"] = {"doing": "ask", "status": 200, "text": recorder.log_of(service)}
    set_link("up")
    recorder.until_node("w1", "ready")
    recorder.until(service, ENDS)
    recorder.until(short, ENDS)
    recorder.see("node cut off, back", service)
    recorder.see("node cut off, back, ended by itself", short)

    service = start()
    os.kill(int((HOME / "run/w1-dockerd.pid").read_text()), signal.SIGKILL)
    node_id = recorder.until_node("w1", "down")
    recorder.see("node down", service)
    recorder.errors["node down, log"] = {"doing": "ask", "status": 200, "text": recorder.log_of(service)}
    up()
    recorder.until(service, ENDS)
    recorder.see("node down, back", service)

    service = start()
    os.kill(int((HOME / "run/w1-dockerd.pid").read_text()), signal.SIGKILL)
    node_id = recorder.until_node("w1", "down")
    recorder.client.remove_node(node_id, force=True)
    time.sleep(1)
    recorder.see("node removed", service)
    up()


def main(url: str = "unix:///var/run/docker.sock") -> None:
    recorder = Recorder(url)
    try:
        record_refusals(recorder)
        record_ends(recorder)
        record_endings(recorder)
        record_nodes(recorder)
    finally:
        for service in {found["ID"] for found in recorder.client.services()} & set(recorder.made):
            recorder.client.remove_service(service)
    folder = Path(__file__).parent / "swarm"
    folder.mkdir(exist_ok=True)
    for name, content in (("states", recorder.states), ("errors", recorder.errors)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

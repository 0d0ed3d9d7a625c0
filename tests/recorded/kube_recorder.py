"""A Kubernetes API server asked by plain HTTP, and what of its answers is kept: used by ``record_kubernetes.py``.

No SDK is in between: what is recorded is what comes over the wire, without ``managedFields`` and with stable names.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import requests
import yaml

Json = dict[str, Any]
JOBS = "/apis/batch/v1/namespaces/{ns}/jobs"
PODS = "/api/v1/namespaces/{ns}/pods"
EVENTS = "/api/v1/namespaces/{ns}/events"
KEPT_HEADERS = ("Content-Type", "Retry-After", "Warning")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Server:
    """One user's access; ``as_user`` gives another's."""

    def __init__(self, kubeconfig: Path) -> None:
        access = yaml.safe_load(kubeconfig.read_text())
        cluster, user = access["clusters"][0]["cluster"], access["users"][0]["user"]
        folder = Path(mkdtemp(prefix="pman-record-"))
        for name, data in (
            ("ca", cluster["certificate-authority-data"]),
            ("crt", user["client-certificate-data"]),
            ("key", user["client-key-data"]),
        ):
            (folder / name).write_bytes(base64.b64decode(data))
        self.url = cluster["server"]
        self._ca = str(folder / "ca")
        self.session = self._new_session()
        self.session.cert = (str(folder / "crt"), str(folder / "key"))

    def as_user(self, token: str) -> "Server":
        other = object.__new__(Server)
        other.url, other._ca = self.url, self._ca
        other.session = self._new_session()
        other.session.headers["Authorization"] = f"Bearer {token}"
        return other

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = self._ca
        return session

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        headers = {"Content-Type": "application/json"} | more.pop("headers", {})
        data = body if isinstance(body, str | bytes | None) else json.dumps(body)
        return self.session.request(method, self.url + path, data=data, headers=headers, timeout=60, **more)

    def do(self, method: str, path: str, body: Any = None, **more: Any) -> Json:
        """Make a call that must succeed."""
        answer = self.ask(method, path, body, **more)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return dict(answer.json())


class Life:
    """Follows the jobs and the pods of one label value in two watches, and keeps every event in order."""

    def __init__(self, server: Server, namespace: str, selector: str) -> None:
        self.events: list[Json] = []
        self._server, self._lock = server, threading.Lock()
        for path in (JOBS, PODS):
            url = server.url + path.format(ns=namespace)
            query = {"labelSelector": selector}
            at = server.session.get(url, params=query, timeout=30).json()["metadata"]["resourceVersion"]
            query |= {"watch": "1", "resourceVersion": at, "timeoutSeconds": "300"}
            stream = server.session.get(url, params=query, stream=True, timeout=300)
            threading.Thread(target=self._follow, args=(stream,), daemon=True).start()

    def _follow(self, stream: requests.Response) -> None:
        """Never closed: that would wait for the next event. The server ends it, or the end of this program."""
        for line in stream.iter_lines(chunk_size=1):
            with self._lock:
                self.events.append(json.loads(line))

    def so_far(self) -> list[Json]:
        with self._lock:
            return sorted(self.events, key=lambda event: int(event["object"]["metadata"]["resourceVersion"]))

    def until(self, what: str, is_it: Callable[[list[Json]], bool], timeout_s: float = 90) -> list[Json]:
        end_s = time.monotonic() + timeout_s
        while not is_it(found := self.so_far()):
            if time.monotonic() > end_s:
                raise TimeoutError(f"not seen: {what}: {json.dumps([event['object']['status'] for event in found])}")
            time.sleep(0.02)
        return found


def without_noise(value: Any) -> Any:
    """Drop what only swells the files."""
    if isinstance(value, dict):
        return {key: without_noise(inner) for key, inner in value.items() if key != "managedFields"}
    return [without_noise(inner) for inner in value] if isinstance(value, list) else value


def brief(found: Json) -> Json:
    """Keep of a job or pod what tells how it is: of its spec only what a parser may look at."""
    found = without_noise(found)
    spec = found["spec"]
    if "template" in spec:
        kept = {key: spec[key] for key in spec if key not in {"template", "selector"}}
    else:
        kept = {key: spec[key] for key in ("nodeName", "activeDeadlineSeconds", "priority") if key in spec}
        kept["containers"] = [
            {key: container[key] for key in ("name", "image", "resources")} for container in spec["containers"]
        ]
    return found | {"spec": kept}


def moment(found: Json) -> Json:
    """Keep of a job or pod in a watch what changes."""
    keys = ("name", "generation", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers")
    metadata = {key: found["metadata"][key] for key in keys if key in found["metadata"]}
    return {"kind": found["kind"], "metadata": metadata, "status": found["status"]}


def brief_event(event: Json) -> Json:
    keys = ("type", "reason", "message", "count", "firstTimestamp", "lastTimestamp", "involvedObject", "source")
    return {key: event[key] for key in keys if key in event}


def anonymous(content: Any) -> Any:
    """Give every generated name, id and address a stable stand-in, the same one wherever it comes up."""
    text = json.dumps(content)
    seen: dict[str, str] = {}

    def stand_in(kind: str, pattern: str, make: Callable[[int], str]) -> None:
        nonlocal text
        found = list(dict.fromkeys(re.findall(pattern, text)))
        for number, value in enumerate(found):
            seen[value] = make(number)
            text = text.replace(value, seen[value])

    stand_in("uid", r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
             lambda number: f"00000000-0000-4000-8000-{number:012d}")  # fmt: skip
    stand_in("container", r"\b(?<!sha256:)[0-9a-f]{64}\b", lambda number: f"{number:064x}")
    stand_in("pod", r'"recorded-[a-z0-9-]*?-([bcdfghjklmnpqrstvwxz2456789]{5})"', _suffix)
    for pattern, value in (
        (r" on \S+:53:", " on 192.0.2.53:53:"),
        (r"\b10\.244\.\d+\.\d+\b", "192.0.2.10"),
        (r"\b10\.123\.0\.1\b", "192.0.2.1"),
        (r"127\.0\.0\.1:\d+", "192.0.2.99:5000"),
        (r'"continue": "[^"]+"', '"continue": "TOKEN"'),
        (r"pod-template-[0-9a-f]+|kube-api-access-\w{5}", "kube-api-access-xxxxx"),
        (r"/var/lib/[\w-]*kube[\w-]*", "/var/lib"),
    ):
        text = re.sub(pattern, value, text)
    return json.loads(text)


def as_lines(content: Json, depth: int = 2) -> str:
    """Return JSON with a line for each part, so that a difference can be read."""
    if depth and content and isinstance(content, dict):
        lines = (f"{json.dumps(key)}: {as_lines(content[key], depth - 1)}" for key in sorted(content))
        return "{\n" + ",\n".join(lines) + "\n}"
    if depth and content and isinstance(content, list):
        return "[\n" + ",\n".join(as_lines(item, 0) for item in content) + "\n]"
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def _suffix(number: int) -> str:
    return LETTERS[number // 26] * 2 + LETTERS[number % 26] * 3

"""Reads the recordings of a real Cromwell, asks a server the same once more, and says how the answers differ.

Times, job ids, the size of a form, the place of the execution folders, and what a parser says of a syntax error are
masked; all else must be the same: status, the headers that mean something, every key and every value.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import requests

RECORDED = Path(__file__).parents[1] / "recorded" / "cromwell"
ROOT = "/srv/cromwell/run/executions"
CHANCE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|(?<=incoming entity size )\(\d+\)")
HEADERS = ("Content-Type", "Content-Encoding", "Warning", "Connection")


def _submitted(name: str, file: str) -> str:
    text: str = read(name).json()["submittedFiles"][file]
    return text


@dataclass(frozen=True)
class Recording:
    """One request and its answer."""

    name: str
    method: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    parts: list[tuple[str, str]]
    data: str | None
    code: int
    reply_headers: dict[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)

    def ask(self, url: str, **parts: str) -> requests.Response:
        """Ask the same of another server; ``parts`` replace those of the form."""
        given = [(name, (None, parts.get(name, text))) for name, text in self.parts]
        headers = {"Accept-Encoding": "identity"} | self.headers
        return requests.request(
            self.method, url + self.target, headers=headers, files=given or None, data=self.data, timeout=20
        )

    def differences(self, reply: requests.Response, root: Path, masks: tuple[str, ...] = ()) -> list[str]:
        """Compare; ``masks`` are keys whose text may be another."""
        found = []
        if reply.status_code != self.code:
            found.append(f"status {reply.status_code}, recorded {self.code}: {reply.text[:200]}")
        for name in HEADERS:
            given, recorded_one = reply.headers.get(name), self.reply_headers.get(name)
            found += [f"{name}: {given!r}, recorded {recorded_one!r}"] if given != recorded_one else []
        ours, recorded = _body(reply.text.replace(str(root), ROOT), masks), _body(self.body, masks)
        if ours != recorded:
            found += _differ("", ours, recorded) or ["as JSON the same, as text not"]
        return [f"{self.name}: {one}" for one in found]


def read(name: str) -> Recording:
    """Read a recording of one request by its name without ``.txt``."""
    text = (RECORDED / f"{name}.txt").read_text()
    request, _, reply = text.partition("\n----\n")
    head, _, body = reply.partition("\n\n")
    status, *lines = head.splitlines()
    argv = shlex.split(request.splitlines()[1].removeprefix("$ "))
    found: dict[str, Any] = {"headers": {}, "parts": [], "data": None}
    for option, value in pairwise(argv):
        if option == "-X":
            found["method"] = value
        elif option == "-H":
            key, _, content = value.partition(": ")
            found["headers"][key] = content
        elif option == "-F":
            key, _, content = value.partition("=")
            found["parts"].append((key, _file(content)))
        elif option == "-d":
            found["data"] = value
    target = argv[-1].removeprefix("http://127.0.0.1:8000")
    headers = dict(line.split(": ", 1) for line in lines)
    return Recording(
        name, target=target, code=int(status.split()[1]), reply_headers=headers, body=body.removesuffix("\n"), **found
    )


def _file(content: str) -> str:
    """Return what was in a file of the recorder; most of them are told again in the metadata."""
    if not content.startswith("@"):
        return content
    return {
        "run.wdl": lambda: _submitted("30-metadata-succeeded-full", "workflow"),
        "bad.wdl": lambda: _submitted("36-metadata-invalid-wdl", "workflow"),
        "cont.wdl": lambda: _submitted("30-metadata-succeeded-full", "workflow").replace(
            "  output {\n    File", "  runtime { continueOnReturnCode: [0, 7] }\n  output {\n    File"
        ),
        "ok.json": lambda: _submitted("30-metadata-succeeded-full", "inputs"),
        "fail7.json": lambda: _submitted("33-metadata-failed7-full", "inputs"),
        "sleep300.json": lambda: _submitted("21d-metadata-running-late", "inputs"),
        "badin.json": lambda: _submitted("36c-metadata-missing-input", "inputs"),
        "labels.json": lambda: _submitted("30-metadata-succeeded-full", "labels"),
        "options.json": lambda: "{}\n",
        "big.json": lambda: json.dumps({"step.argv": ["x" * 9_000_000]}),
    }[content[1:].rpartition("/")[2]]()  # fmt: skip


def _body(text: str, masks: tuple[str, ...]) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return CHANCE.sub("CHANCE", text)
    is_pretty = text.startswith("{\n")
    return (is_pretty, _masked(found, masks))


def _masked(value: Any, masks: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {
            key: "MASKED" if key in {"cromwellId", "jobId", "executionEvents", *masks} else _masked(one, masks)
            for key, one in value.items()
        }
    if isinstance(value, list):
        masked = [_masked(one, masks) for one in value]
        is_events = value and isinstance(value[0], dict) and "cromwellVersion" in value[0]
        return sorted(masked, key=lambda event: event["description"]) if is_events else masked
    return CHANCE.sub("CHANCE", value) if isinstance(value, str) else value


def _differ(path: str, ours: Any, recorded: Any) -> list[str]:
    if isinstance(ours, dict) and isinstance(recorded, dict):
        return [
            difference
            for key in sorted(ours.keys() | recorded.keys())
            for difference in _differ(f"{path}.{key}", ours.get(key, "MISSING"), recorded.get(key, "MISSING"))
        ]
    if isinstance(ours, list | tuple) and isinstance(recorded, list | tuple) and len(ours) == len(recorded):
        return [
            difference
            for number, pair in enumerate(zip(ours, recorded, strict=True))
            for difference in _differ(f"{path}[{number}]", *pair)
        ]
    return [] if ours == recorded else [f"{path}: {ours!r}, recorded {recorded!r}"]


@dataclass
class Comparison:
    """Asks recorded requests of one server, and gathers what differs."""

    url: str
    root: Path
    differences: list[str] = field(default_factory=list)

    def ask(self, *names: str, masks: tuple[str, ...] = (), **parts: str) -> None:
        for name in names:
            recording = read(name)
            self.differences += recording.differences(recording.ask(self.url, **parts), self.root, masks)

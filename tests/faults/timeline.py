"""One job's story, merged by time from all who know something of it: for people who look for the cause of a finding."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tests.faults.evidence import Evidence

STAMP = re.compile(r"^\[?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[,.](\d{3})")
AROUND_S = 5.0


def timeline(jid: str, evidence: Evidence, folder: Path) -> list[str]:
    """Return lines in the order of their time: calls, faults, and what the logs of all processes say of the job."""
    events = sorted([*_calls(jid, evidence), *_log_lines(jid, evidence, folder)])
    if events:
        first_s, last_s = events[0][0] - AROUND_S, events[-1][0] + AROUND_S
        events += [event for event in _faults(evidence) if first_s <= event[0] <= last_s]
    lines = [f"{datetime.fromtimestamp(at_s):%H:%M:%S.%f}"[:-3] + f" {text}" for at_s, text in sorted(events)]  # noqa: DTZ006
    bodies = [body for body in evidence.bodies if body.jid == jid]
    lines += [f"{body} wrote {evidence.traces.get(body.tag)}" for body in bodies]
    natives = [*evidence.natives, *evidence.natives_at_end]
    return lines + [f"the scheduler shows {native}" for native in natives if native.jid == jid]


def _calls(jid: str, evidence: Evidence) -> Iterator[tuple[float, str]]:
    for call in evidence.calls:
        if call.jid == jid:
            took_ms = (call.ended_s - call.began_s) * 1000
            number = f" body {call.number}{' (conflicting)' if call.conflicts else ''}" if call.number >= 0 else ""
            said = {name: value for name, value in (call.record or {}).items() if name != "cmd"}
            yield call.began_s, f"client      {call.verb}{number}: {call.code} in {took_ms:.0f} ms {said or call.error}"


def _faults(evidence: Evidence) -> Iterator[tuple[float, str]]:
    for fault in evidence.faults:
        yield fault.began_s, f"fault       {fault.kind} {fault.target} begins"
        yield fault.ended_s, f"fault       {fault.kind} {fault.target} is over"


def _log_lines(jid: str, evidence: Evidence, folder: Path) -> Iterator[tuple[float, str]]:
    generations = {call.record["generation"] for call in evidence.calls if call.jid == jid and call.record}
    names = re.compile("|".join([*generations, rf"\b{re.escape(jid)}\b"]))
    for path in sorted(folder.glob("*.log")):
        at_s = 0.0
        for line in path.read_text(errors="replace").splitlines():
            if stamp := STAMP.match(line):
                local = datetime.strptime(stamp[1], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - as the logs have it
                at_s = local.replace(microsecond=int(stamp[2]) * 1000).timestamp()
            if names.search(line):
                yield at_s, f"{path.stem:<11} {line[:400]}"

"""The story of one job: whoever knows something of it is in there, in the order of time, and nobody else."""

from datetime import datetime
from pathlib import Path

from tests.faults.evidence import Body, Call, Evidence, Injected, Native, Traces, Verb
from tests.faults.timeline import timeline

BODY = Body("job-1", 0, 1.0, 0)
BEGAN_S = datetime(2026, 1, 1, 12, 0, 0).timestamp()  # noqa: DTZ001 - logs have local time
SAID = {"generation": "01abc", "status": "notstarted", "cmd": "long"}


def test_clients_faults_and_logs_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "worker-1.log").write_text(
        "2026-01-01 12:00:01,500 INFO a line that names 01abc\n"
        "a second line of another, jid=job-1, without a time of its own\n"
        "2026-01-01 12:00:01,600 INFO of job-10 only\n"
    )
    evidence = Evidence(
        bodies=[BODY, Body("job-2", 0, 1.0, 0)],
        calls=[
            Call(BEGAN_S + 3, BEGAN_S + 3.1, Verb.GET, "job-1", -1, 200, SAID),
            Call(BEGAN_S, BEGAN_S + 0.1, Verb.POST, "job-1", 0, 201, SAID),
            Call(BEGAN_S, BEGAN_S + 0.1, Verb.POST, "job-2", 0, 201, SAID | {"generation": "01xyz"}),
        ],
        traces={BODY.tag: Traces(["begun"])},
        faults=[
            Injected("worker-kill", "worker-2", BEGAN_S + 2, BEGAN_S + 2.5),
            Injected("long-ago", "worker-2", BEGAN_S - 500, BEGAN_S - 499),
        ],
        natives=[Native("job-1", "01abc", "ended", 0), Native("job-2", "01xyz", "ended", 0)],
    )
    lines = timeline("job-1", evidence, tmp_path)
    assert [line[:8] for line in lines[:6]] == [
        "12:00:00",
        "12:00:01",
        "12:00:01",
        "12:00:02",
        "12:00:02",
        "12:00:03",
    ]
    for line, part in zip(lines, ("POST", "names 01abc", "second line", "begins", "is over", "GET"), strict=False):
        assert part in line
    assert "begun" in lines[6]
    assert "ended" in lines[7]
    assert len(lines) == 8

"""A transport over replies that a real slurmrestd has given (``record_slurmrestd.py``), and replies of newer versions.

The newer shapes are made here after their descriptions, https://slurm.schedmd.com/rest_api.html.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends._slurm.rest import RestTransport, Service
from backends._slurm.rest_token import Tokens

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "recorded" / "slurm" / "slurmrestd.json").read_text()
)
AT = 1_795_629_567


@dataclass
class Call:
    method: str
    path: str
    body: Any
    token: str


@dataclass
class FakeService:
    """Answers by path; one answer or several, the last one again and again."""

    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def will(self, path: str, *answers: Mapping[str, Any] | tuple[int, Any]) -> None:
        self.answers[path] = [
            answer if isinstance(answer, tuple) else (answer["status"], answer["body"]) for answer in answers
        ]


class Replayed(RestTransport):
    """What was recorded instead of a connection."""

    def __init__(self, fake: FakeService, tokens: Tokens | None = None, served: str = "", user: str = "root") -> None:
        super().__init__(Service("http://nowhere", user, tokens or Tokens("t0"), 5.0))
        self.fake = fake
        paths = dict.fromkeys(served.split()) if served else RECORDED["openapi"]["body"]["paths"]
        fake.answers.setdefault("/openapi/v3", [(200, {"paths": paths})])

    def _once(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any, str]:
        self.fake.calls.append(Call(method, path, body, token))
        answers = self.fake.answers[path.partition("?")[0]]
        code, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return code, None if isinstance(answer, str) else answer, str(answer)


def number(value: int | None) -> dict[str, Any]:
    return {"set": value is not None, "infinite": False, "number": value or 0}


def modern_job(version: int, state: str, exit_status: int = 0, signal: int = 0) -> dict[str, Any]:
    """A job of ``/slurm/.../jobs`` from v0.0.39 on."""
    time = number if version > 39 else int
    ended = state not in {"PENDING", "RUNNING"}
    words = ["CANCELLED", "COMPLETING"] if state == "COMPLETING" else [state]
    verbose = {
        "status": ["SUCCESS"],
        "return_code": number(None if signal else exit_status),
        "signal": {"id": number(signal or None), "name": ""},
    }
    return {
        "job_id": 7,
        "name": "pman-x",
        "comment": "pman/1",
        "user_name": "pman",
        "job_state": words if version > 39 else words[-1],
        "state_reason": "None" if ended else "Resources",
        "exit_code": verbose if version > 39 else number(exit_status << 8 | signal),
        "submit_time": time(AT),
        "start_time": time(AT + 1),
        "end_time": time(AT + 9),
        "nodes": "n[1-2]",
        "restart_cnt": 1,
    }


def modern_accounted(state: str, exit_status: int = 0) -> dict[str, Any]:
    """A job of ``/slurmdb/.../jobs`` from v0.0.40 on."""
    return {
        "job_id": 7,
        "name": "pman-x",
        "comment": {"administrator": "", "job": "pman/1", "system": ""},
        "user": "pman",
        "state": {"current": [state], "reason": "None"},
        "exit_code": {
            "status": ["ERROR" if exit_status else "SUCCESS"],
            "return_code": number(exit_status),
            "signal": {"id": number(None), "name": ""},
        },
        "time": {"submission": AT, "start": AT + 1, "end": AT + 9},
        "nodes": "n1",
    }

"""Slurm by its REST service, for a pman that is on no login node. One of the two transports; see ``transport.py``.

https://slurm.schedmd.com/slurmrestd.html. There is a connection for each call, because slurmrestd closes idle ones
without a word. It is closed from here: with ``Connection: close`` Slurm 22.05 hangs up before it has read a body.
"""

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from backends._slurm.rest_errors import (
    ALREADY_DONE,
    INVALID_JOB_ID,
    JOB_HELD,
    NOTHING_FOUND,
    error_from,
    may_be_the_token,
    numbers_in,
)
from backends._slurm.rest_order import body_of
from backends._slurm.rest_replies import accounted_from, job_from, job_id_from, unaccounted_from
from backends._slurm.rest_token import Tokens
from backends._slurm.rest_version import Version, choose
from backends._slurm.transport import NativeJob, NoAccounting, SbatchOrder
from pman_core.errors import Unavailable, Unparseable

CONNECT_TIMEOUT_S = 5.0
IDS_PER_CALL = 500
"""Of the accounting: ids stand in the URL, and slurmrestd takes 64 KiB of it."""
NO_STORAGE = "accounting_storage/none"

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Service:
    """Where slurmrestd is, and as whom it is asked."""

    url: str
    user: str
    tokens: Tokens
    timeout_s: float
    """For each call; slurmrestd itself waits for 10 s for a slurmctld that is away, at a look-up twice."""
    authorities: Path | None = None
    """A file of certificates, for https; ``None``: those of the library."""


class RestTransport:
    """A slurmrestd. ``open`` asks which versions it serves; a call asks again if that has failed before."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._base = service.url.rstrip("/")
        self._verify = True if service.authorities is None else str(service.authorities)
        self._lock = threading.Lock()
        self._version: Version | None = None

    def open(self) -> None:
        self._negotiated()

    def close(self) -> None:
        self._version = None

    def submit(self, order: SbatchOrder) -> int:
        version = self._negotiated()
        reply = self._call(
            "POST", f"/slurm/{version}/job/submit", body=body_of(order, version), passed_over={JOB_HELD}, is_order=True
        )
        return _read(job_id_from, reply)

    def jobs(self) -> Sequence[NativeJob]:
        reply = self._call("GET", f"/slurm/{self._negotiated()}/jobs")
        # v0.0.36 does not say whose a job is.
        ours = (None, "", self._service.user)
        return _read(lambda data: [job_from(job) for job in data["jobs"] if job.get("user_name") in ours], reply)

    def accounted(self, job_ids: Collection[int], since: datetime) -> Sequence[NativeJob]:
        version = self._negotiated()
        if not version.has_accounting:
            raise NoAccounting
        ids, found = sorted(job_ids), dict[int, NativeJob]()
        for start in range(0, len(ids), IDS_PER_CALL):
            steps = quote(",".join(map(str, ids[start : start + IDS_PER_CALL])), safe="")
            reply = self._call("GET", f"/slurmdb/{version}/jobs?step={steps}", passed_over={NOTHING_FOUND})
            if _read(_keeps_none, reply):
                raise NoAccounting
            for job in _read(lambda data: list(map(accounted_from, data["jobs"])), reply):
                is_ours = job.user in ("", self._service.user)
                if is_ours and (job.submitted_at is None or job.submitted_at >= since.replace(microsecond=0)):
                    found[job.job_id] = _later(found.get(job.job_id), job)
        return list(found.values())

    def unaccounted(self) -> int:
        reply = self._call("GET", f"/slurm/{self._negotiated()}/diag")
        return _read(unaccounted_from, reply)

    def cancel(self, job_ids: Collection[int], *, gently: bool = False) -> None:  # noqa: ARG002
        """See the protocol. slurmrestd knows one way only: SIGTERM, and SIGKILL after the cluster's KillWait."""
        for job_id in job_ids:
            self._call(
                "DELETE", f"/slurm/{self._negotiated()}/job/{job_id}", passed_over={INVALID_JOB_ID, ALREADY_DONE}
            )

    def ping(self) -> str:
        version = self._negotiated()
        reply = self._call("GET", f"/slurm/{version}/ping")
        return _read(lambda data: _ping_text(data, version), reply)

    # -- calls

    def _negotiated(self) -> Version:
        with self._lock:
            if self._version is None:
                paths = _read(lambda data: list(data["paths"]), self._call("GET", "/openapi/v3"))
                self._version = choose(paths)
            return self._version

    def _call(
        self, method: str, path: str, *, body: Any = None, passed_over: Collection[int] = (), is_order: bool = False
    ) -> Any:
        """Return the JSON of an answer that tells of no error but those of ``passed_over``.

        A call that a token was refused for is repeated with another one, if that can do no harm.

        Raises:
            Rejected: only of an order.
            Unavailable, Unparseable: see the protocol.
        """
        token = self._service.tokens.current()
        code, reply, raw = self._once(method, path, body, token)
        if _is_error(code, reply, passed_over) and may_be_the_token(code, reply):
            another = self._service.tokens.another(token)
            # Of an order nobody knows what became of it, unless slurmrestd itself has refused it.
            if another and (not is_order or code in (401, 403)):
                code, reply, raw = self._once(method, path, body, another)
        if _is_error(code, reply, passed_over):
            if code == 404:
                self._version = None  # another release of Slurm, perhaps
                raise Unavailable(f"slurmrestd does not serve {path.partition('?')[0]}")
            raise error_from(code, reply, raw, is_order=is_order)
        return reply

    def _once(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any, str]:
        """Return the HTTP status, the JSON (``None`` if it is none) and the beginning of the text."""
        headers = {"X-SLURM-USER-NAME": self._service.user, "X-SLURM-USER-TOKEN": token}
        try:
            with requests.Session() as session:
                session.trust_env = False  # a proxy or a .netrc of the environment is none of ours
                response = session.request(
                    method, self._base + path, json=body, headers=headers, allow_redirects=False, verify=self._verify,
                    timeout=(CONNECT_TIMEOUT_S, self._service.timeout_s),
                )  # fmt: skip
        except requests.RequestException as error:
            raise Unavailable(f"slurmrestd at {self._base} gives no answer: {type(error).__name__}") from None
        try:
            # Slurm 22.05 puts bare control characters into its texts.
            return response.status_code, json.loads(response.content, strict=False), response.text[:2000]
        except ValueError:
            return response.status_code, None, response.text[:2000]


def _is_error(code: int, reply: Any, passed_over: Collection[int]) -> bool:
    numbers = numbers_in(reply)
    if numbers and numbers <= frozenset(passed_over):
        return False
    return code != 200 or reply is None or bool(numbers)


def _keeps_none(reply: Mapping[str, Any]) -> bool:
    """Whether the answer of the accounting says that there is none."""
    plugin = (reply.get("meta") or {}).get("plugin") or {}
    return plugin.get("accounting_storage") == NO_STORAGE


def _later(one: NativeJob | None, other: NativeJob) -> NativeJob:
    """Return the later run of a job that was requeued."""
    if one is None or one.submitted_at is None or other.submitted_at is None:
        return other
    return max(one, other, key=lambda job: (job.submitted_at, job.restarts))


def _ping_text(data: Mapping[str, Any], version: Version) -> str:
    up = [ping["hostname"] for ping in data["pings"] if _answers(ping)]
    if not up:
        raise Unavailable("no slurmctld answers slurmrestd")
    meta = data.get("meta") or {}
    release = (meta.get("slurm") or meta.get("Slurm") or {}).get("release", "")
    return f"slurmctld on {up[0]}, Slurm {release}, by slurmrestd {version}"


def _answers(ping: Mapping[str, Any]) -> bool:
    return ping.get("pinged", ping.get("ping")) == "UP" or ping.get("responding") is True


def _read(reader: Callable[[Any], Read], reply: Any) -> Read:
    try:
        return reader(reply)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Unparseable(f"slurmrestd answers in an unknown shape: {error!r}", json.dumps(reply)[:2000]) from error

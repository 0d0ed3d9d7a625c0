"""The HTTP client: typed calls with time-outs, retries and errors that say what to do.

It needs no Flask, no Celery and no Redis, so that any program may import it. Every call may be repeated safely, a POST
too: pman tells a repetition by the jid and the body. So all of them are retried when the connection breaks or pman
answers 503, after the time that it asks for (``Retry-After``).
"""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pman_client.errors import BadRequest, ClientError, FieldError, JobConflict, NotFound, PmanUnavailable
from pman_client.model import Job, JobPage, JobSubmission

BACKOFF_S = 0.2
JOBS = "/api/v1/"
DEFAULT_PORT = 5010
"""The port of the old pman."""
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"


class PmanClient:
    """A connection to one pman, given by its address without a path. Use it from one thread."""

    def __init__(self, base_url: str, *, timeout_s: float = 10.0, retries: int = 3) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/json"
        retry = Retry(
            total=retries,
            allowed_methods=None,
            status_forcelist=(502, 503, 504),
            backoff_factor=BACKOFF_S,
            backoff_jitter=BACKOFF_S / 2,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def __enter__(self) -> "PmanClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    def submit(self, submission: JobSubmission) -> Job:
        """Hand in a job. Repeating it with the same body returns the job as it is by now; nothing runs twice.

        Raises:
            JobConflict: the jid belongs to a job with another body.
            BadRequest: with every fault at once.
        """
        return self._job(self._call("POST", JOBS, body=submission.to_wire()))

    def get(self, jid: str) -> Job:
        """Read a job.

        Raises:
            NotFound: there is none of this name.
        """
        return self._job(self._call("GET", _path(jid)))

    def delete(self, jid: str) -> None:
        """End a job if it still runs and forget it. A jid that nobody knows is fine."""
        self._call("DELETE", _path(jid))

    def list(self, *, limit: int = 50, cursor: str = "") -> JobPage:
        """Read one page of jobs, newest first, without their logs."""
        reply = self._call("GET", "/jobs/", query={"limit": str(limit)} | ({"cursor": cursor} if cursor else {}))
        try:
            return JobPage(tuple(map(Job.from_wire, reply["jobs"])), reply.get("next") or "")
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange(error) from error

    def info(self) -> dict[str, Any]:
        """Return what pman says of itself: version, backend, storage type."""
        return self._call("GET", JOBS)

    def ready(self) -> bool:
        """Return whether pman can take a job right now; nothing is retried."""
        try:
            return self._session.get(f"{self.base_url}/ready/", timeout=self._timeout_s).status_code == 200
        except requests.RequestException:
            return False

    def watch(self, jid: str, *, poll_s: float = 1.0, patience_s: float = 60.0) -> Iterator[Job]:
        """Yield the job now and whenever it has changed, up to the end of it.

        A pman that is away for ``patience_s`` at a time is waited for.

        Raises:
            PmanUnavailable: it was away for longer.
        """
        last: Job | None = None
        silent_since: float | None = None
        while last is None or not last.is_finished:
            if last is not None or silent_since is not None:
                time.sleep(poll_s)
            try:
                job = self.get(jid)
            except PmanUnavailable:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since >= patience_s:
                    raise
                continue
            silent_since = None
            if job != last:
                yield job
            last = job

    def wait(self, jid: str, *, poll_s: float = 1.0, patience_s: float = 60.0) -> Job:
        """Return the job when it has finished; see :meth:`watch`."""
        *_, job = self.watch(jid, poll_s=poll_s, patience_s=patience_s)
        return job

    def _job(self, reply: dict[str, Any]) -> Job:
        try:
            return Job.from_wire(reply)
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange(error) from error

    def _call(
        self, method: str, path: str, *, body: object = None, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            reply = self._session.request(
                method, self.base_url + path, json=body, params=query, timeout=self._timeout_s, allow_redirects=False
            )
        except requests.RequestException as error:
            raise PmanUnavailable(f"no answer from {self.base_url}: {_cause(error)}") from error
        document = _document(reply)
        if 200 <= reply.status_code < 300:
            return document
        raise self._error(reply.status_code, document)

    def _error(self, status: int, problem: dict[str, Any]) -> ClientError:
        text = str(problem.get("message") or problem.get("detail") or f"HTTP {status}")
        if status == 404:
            return NotFound(text)
        if status == 409:
            return JobConflict(text)
        if 400 <= status < 500:
            listed = [item for item in problem.get("errors") or () if isinstance(item, dict)]
            return BadRequest(text, [FieldError(str(e.get("field", "")), str(e.get("message", ""))) for e in listed])
        return PmanUnavailable(f"{self.base_url} answered {status}: {text}")

    def _strange(self, error: Exception) -> PmanUnavailable:
        return PmanUnavailable(f"{self.base_url} does not answer as pman does: {error!r}")


def _path(jid: str) -> str:
    return f"{JOBS}{quote(jid, safe='')}/"


def _document(reply: requests.Response) -> dict[str, Any]:
    """Return the JSON object of an answer; a proxy's HTML page counts as an empty one."""
    try:
        document = reply.json() if reply.content else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _cause(error: requests.RequestException) -> str:
    """Return the innermost cause in few words: what urllib3 wraps around it helps nobody."""
    text = str(error)
    for known in ("Connection refused", "timed out", "Name or service not known", "Connection reset"):
        if known in text:
            return known.lower()
    return text

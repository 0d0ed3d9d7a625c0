"""Speaks HTTP with a Cromwell server: one method per call, each with a time-out, and never a second try.

https://cromwell.readthedocs.io/en/stable/api/RESTAPI/
"""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from backends._cromwell.errors import Doing, explain
from backends._cromwell.replies import (
    Account,
    Workflow,
    check_submitted,
    read_abort,
    read_account,
    read_object,
    read_page,
)
from pman_core.errors import Rejected, Unavailable, Unparseable

BODY_BYTES_MAX = 8 * 2**20
"""``akka.http.server.parsing.max-content-length``: what is longer is a 500."""
PAGE_ROWS = 500
IDS_MAX = 100
"""In one question: the server makes one condition of a statement in SQL of each."""
WITH_LABELS = ("additionalQueryResultFields", "labels")
"""Costs the server one more question to its database for every row."""
CONNECTIONS_MAX = 32
ACCOUNT_KEYS = ("status", "start", "end", "failures", "returnCode", "jobId", "stdout", "stderr", "workflowRoot")


class Client:
    """One server. Calls may come from several threads.

    Every call raises ``Unavailable`` (no answer in time, or not now) or ``Unparseable`` (an unknown answer).
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._base = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS_MAX))

    def close(self) -> None:
        self._session.close()

    def version(self) -> str:
        return str(read_object(self._get("/engine/v1/version")).get("cromwell", ""))

    def faults_of(self, source: str) -> list[str]:
        """Return what is wrong with a WDL. A submit says nothing of it: it answers 201, and the workflow fails."""
        reply = read_object(self._send("POST", "/api/womtool/v1/describe", Doing.ASK, form={"workflowSource": source}))
        return (
            [] if reply.get("valid") is True else [str(fault) for fault in reply.get("errors") or ["no reason given"]]
        )

    def submit(self, form: Mapping[str, str]) -> None:
        """Submit a workflow, which is known from then on to submit and abort, and some seconds later to queries.

        Raises:
            IdTaken: there is a workflow of this id.
            Rejected: it is too large, or the server refuses it.
        """
        check_submitted(self._send("POST", "/api/workflows/v1", Doing.SUBMIT, form=form), form["requestedWorkflowId"])

    def abort(self, workflow_id: str) -> str:
        """Have a workflow aborted. Returns ``Aborted``, if it had not begun, or ``Aborting``.

        Raises:
            NotInProgress: it has ended, or there is none.
        """
        return read_abort(self._send("POST", f"/api/workflows/v1/{workflow_id}/abort", Doing.ABORT))

    def account(self, workflow_id: str) -> Account:
        """Return the metadata of an ended workflow, as far as we need them.

        Raises:
            NotThere: no workflow of this id is known (yet).
        """
        keys = [("includeKey", key) for key in ACCOUNT_KEYS]
        path = f"/api/workflows/v1/{workflow_id}/metadata"
        return read_account(self._get(path, [*keys, ("expandSubWorkflows", "false")]))

    def with_label(
        self, key: str, value: str, statuses: Sequence[str], *, with_labels: bool = False
    ) -> Iterator[Workflow]:
        """Yield the workflows that carry a label and have one of ``statuses``.

        One that changes its status while pages are turned may be missed.
        """
        where = [("label", f"{key}:{value}"), *(("status", status) for status in statuses)]
        where += [WITH_LABELS] if with_labels else []
        page, seen = 1, 0
        while True:
            paged = [*where, ("page", str(page)), ("pagesize", str(PAGE_ROWS))]
            rows, total = read_page(self._get("/api/workflows/v1/query", paged))
            yield from rows
            seen += len(rows)
            if not rows or seen >= total:
                return
            page += 1

    def with_ids(self, ids: Sequence[str], *, with_labels: bool = False) -> Iterator[Workflow]:
        """Yield those of ``ids`` that the server knows."""
        for first in range(0, len(ids), IDS_MAX):
            # As a body: so many ids are longer than a URL may be.
            asked = [("id", workflow_id) for workflow_id in ids[first : first + IDS_MAX]]
            asked += [WITH_LABELS] if with_labels else []
            rows = [{key: value} for key, value in asked]
            yield from read_page(self._send("POST", "/api/workflows/v1/query", Doing.ASK, rows=rows))[0]

    def _get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> bytes:
        return self._send("GET", path, Doing.ASK, query=query)

    def _send(
        self,
        method: str,
        path: str,
        doing: Doing,
        *,
        query: Sequence[tuple[str, str]] = (),
        form: Mapping[str, str] | None = None,
        rows: Sequence[Mapping[str, str]] | None = None,
    ) -> bytes:
        files = None if form is None else {name: (None, text) for name, text in form.items()}
        request = requests.Request(method, f"{self._base}{path}", params=list(query), files=files, json=rows)
        try:
            prepared = self._session.prepare_request(request)
            if doing is Doing.SUBMIT and len(prepared.body or b"") > BODY_BYTES_MAX:
                raise Rejected(f"the job has {len(prepared.body or b'')} bytes, Cromwell takes {BODY_BYTES_MAX}")
            settings = self._session.merge_environment_settings(prepared.url or "", {}, None, None, None)
            # A proxy of the environment is none of ours, least of all for a server of the same host.
            settings["proxies"] = {}
            reply = self._session.send(prepared, timeout=self._timeout_s, allow_redirects=False, **settings)
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema):
            raise Rejected(f"CROMWELL_URL is no URL: {without_password(self._base)}") from None
        except requests.RequestException as error:
            raise Unavailable(f"Cromwell at {without_password(self._base)} does not answer: {_cause(error)}") from error
        if reply.ok and reply.status_code < 300:
            return reply.content
        if reply.status_code < 400:
            where = reply.headers.get("Location", "")
            raise Unparseable(f"Cromwell at {without_password(self._base)} answered HTTP {reply.status_code}", where)
        raise explain(doing, reply.status_code, reply.content)


def without_password(url: str) -> str:
    """Return ``url`` without user and password, for people."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    inner: Exception = error
    while isinstance(deeper := getattr(inner, "reason", None) or (inner.args or ("",))[-1], Exception):
        inner = deeper
    return str(inner).rpartition(": ")[2] or type(inner).__name__

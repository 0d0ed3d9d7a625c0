"""The life of a job over HTTP: accept, show, delete, list. Record first: replies never wait for a scheduler."""

import logging
import re
from contextlib import suppress

from flask import Response, g, request
from werkzeug.exceptions import Conflict, NotFound

from pman_api.body import read_json
from pman_api.enqueue import enqueue
from pman_api.guarded_store import GuardedStore
from pman_api.live_logs import LiveLogs
from pman_api.replies import json_reply, no_content
from pman_api.reports import Reports
from pman_api.wire import to_warnings, to_wire
from pman_core.broker import Publisher
from pman_core.errors import Fault, InvalidRequest, StoreUnavailable
from pman_core.job import GENERATION_PATTERN
from pman_core.queues import Message, Task
from pman_core.request import JID_PATTERN, JobRequest, normalize_jid, parse_request, unknown_keys
from pman_core.settings import Settings
from pman_core.store.protocol import Created

PAGE_DEFAULT = 100
PAGE_MAX = 1000
CURSOR_PATTERN = re.compile(f"{GENERATION_PATTERN.pattern} {JID_PATTERN.pattern}")

log = logging.getLogger(__name__)


class Jobs:
    """The views of jobs. Their routes are in :mod:`pman_api.app`."""

    def __init__(
        self, settings: Settings, store: GuardedStore, publisher: Publisher, reports: Reports, live_logs: LiveLogs
    ) -> None:
        self._backend = settings.container_env
        self._time_limit_max_minutes = settings.time_limit_max_minutes
        self._max_body_kib = settings.max_body_kib
        self._requeue_s = settings.requeue_s
        self._store = store
        self._publisher = publisher
        self._reports = reports
        self._live_logs = live_logs

    def submit(self) -> Response:
        """POST: 201 as soon as the record is durable. It is enqueued in the same step; the observer repeats that."""
        body = read_json(request, self._max_body_kib)
        job = parse_request(body)
        g.jid = job.jid
        self._refuse_what_the_backend_cannot(job)
        creation = self._store.create(job, self._backend, self._announce)
        record = creation.record
        if creation.outcome is Created.OTHER:
            raise Conflict(f"job {job.jid!r} exists with another body: delete it first, or choose another jid")
        if creation.outcome is Created.NEW:
            log.info("accepted: jid=%s generation=%s", record.jid, record.generation)
        ignored = unknown_keys(body) if isinstance(body, dict) else []
        return json_reply({**to_wire(record), "warnings": to_warnings(ignored)}, 201)

    def read(self, raw_jid: str) -> Response:
        """GET: one read of the store, no call to the scheduler."""
        try:
            jid = g.jid = normalize_jid(raw_jid)
        except ValueError:
            raise NotFound("there is no such job: this is no jid") from None
        record = self._store.read(jid)
        if record is None:
            raise NotFound(f"there is no job {jid!r}")
        self._live_logs.polled(record)
        return json_reply(to_wire(record))

    def delete(self, raw_jid: str) -> Response:
        """DELETE: the job is hidden at once and ended soon; 204 however often, known or not."""
        try:
            jid = g.jid = normalize_jid(raw_jid)
        except ValueError as error:
            raise InvalidRequest([Fault("jid", str(error))]) from None
        # Claimed in the same step: the observer would do the same work in the moment before the message is out.
        deletion = self._store.delete(jid, self._requeue_s)
        if obligation := deletion.obligation:
            if not enqueue(self._publisher, Task.DELETE, obligation.jid, obligation.generation, obligation.host):
                with suppress(StoreUnavailable):  # then it is due when the claim is over
                    self._store.postpone(deletion.backend, obligation, 0)
            log.info("deleted: jid=%s generation=%s", obligation.jid, obligation.generation)
        return no_content()

    def list(self) -> Response:
        """GET of the list: newest first, without logs, page by page; ``cursor`` is the ``next`` of the page before."""
        limit = _page_limit(request.args.get("limit", str(PAGE_DEFAULT)))
        page = self._store.page(_cursor(request.args.get("cursor", "")), limit)
        return json_reply({"jobs": [to_wire(record) for record in page.records], "next": page.cursor or None})

    def _announce(self, jid: str, generation: str) -> Message | None:
        """Return the message that enqueues a new job; without one the observer enqueues it."""
        try:
            return self._publisher.message(Task.SUBMIT, jid, generation)
        except Exception:
            log.exception("not enqueued, the observer will: task=%s jid=%s", Task.SUBMIT, jid)
            return None

    def _refuse_what_the_backend_cannot(self, job: JobRequest) -> None:
        capabilities = self._reports.capabilities()
        faults = capabilities.refusals(job) if capabilities else []
        most = self._time_limit_max_minutes
        if job.time_limit_minutes is not None and most is not None and job.time_limit_minutes > most:
            faults = [*faults, Fault("time_limit", f"must be at most {most} minutes here")]
        if faults:
            raise InvalidRequest(faults)


def _page_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= PAGE_MAX):
        raise InvalidRequest([Fault("limit", f"must be a whole number from 1 to {PAGE_MAX}")])
    return int(text)


def _cursor(text: str) -> str:
    # The store would take anything for a place in its index, and answer with a page that has nothing to do with it.
    if text and not CURSOR_PATTERN.fullmatch(text):
        raise InvalidRequest([Fault("cursor", "must be the `next` of another page, or empty")])
    return text

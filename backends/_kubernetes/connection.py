"""One connection to an API server: who it is and who we are come from the SDK, each call is ours.

The SDK reads kubeconfigs and service accounts, renews tokens, and makes the pool of connections with their TLS. Its
generated calls are not used: they retry by themselves, and write whole replies into the log. Objects are plain
dictionaries as the API has them, so what is sent and what is read can be compared with recordings.
https://github.com/kubernetes-client/python
"""

import json
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import kubernetes
import urllib3
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException

from backends._kubernetes.errors import Busy, Doing, explain
from backends._kubernetes.identity import Object
from backends._kubernetes.settings import KubernetesSettings
from pman_core.errors import BackendError, Rejected, Unavailable, Unparseable

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
PAGE = 500
QUIET_MAX_S = 30.0
"""The API server may ask for more patience than a job should need."""


class Api:
    """Calls of one API server, from any thread. Every one ends within its time-out or raises."""

    def __init__(self, configuration: Any, timeout_s: float, *, is_in_cluster: bool = False) -> None:
        self.is_in_cluster = is_in_cluster
        """Whether we are a pod of this cluster, with a service account."""
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._quiet_until_s = 0.0
        self._told_time: tuple[datetime, float] | None = None

    def close(self) -> None:
        self._pool.clear()

    def now(self) -> datetime | None:
        """Return the time by the server's clock, within a second; ``None`` if no reply has told it.

        https://www.rfc-editor.org/rfc/rfc9110#field.date
        """
        with self._lock:
            told = self._told_time
        return told and told[0] + timedelta(seconds=time.monotonic() - told[1])

    def call(
        self,
        method: str,
        path: str,
        *,
        doing: Doing = Doing.ASK,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        secrets: Iterable[str] = (),
    ) -> Object:
        """Return the reply to one call. ``secrets`` are kept out of the text of errors.

        Raises:
            BackendError: see :mod:`backends._kubernetes.errors`.
            Unavailable: no answer in time.
        """
        with self._asked(
            method, path, query, silence_s=self._timeout_s, body=body, content_type=content_type
        ) as response:
            data = response.data
        if response.status >= 400:
            self._refuse(doing, response, data, secrets)
        try:
            reply = json.loads(data)
        except ValueError:
            raise Unparseable("the API server answered something that is not JSON", repr(data[:200])) from None
        if not isinstance(reply, dict):
            raise Unparseable("the API server answered no object", repr(data[:200]))
        return reply

    def listed(self, method: str, path: str, **more: Any) -> Object:
        """:meth:`call` where the reply is a list.

        Raises:
            Unparseable: it is none, and so says nothing of what is there.
        """
        reply = self.call(method, path, **more)
        if not isinstance(reply.get("items"), list) or not isinstance(reply.get("metadata"), dict):
            raise Unparseable("the API server answered no list", repr(reply)[:200])
        return reply

    def pages(self, path: str, selector: str) -> Iterator[Object]:
        """Yield the pages of a list, complete or with an error.

        Raises:
            Expired: it took too long; begin again.
        """
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            page = self.listed("GET", path, query=query)
            yield page
            proceed = page["metadata"].get("continue")
            if not proceed:
                return
            query["continue"] = proceed

    @contextmanager
    def stream(self, path: str, query: Mapping[str, str], silence_s: float) -> Iterator[urllib3.BaseHTTPResponse]:
        """Open a reply that is read as it comes; silence of ``silence_s`` is an error.

        Raises:
            BackendError: it was refused.
            Unavailable: no answer, or it broke off.
        """
        with self._asked("GET", path, query, silence_s=silence_s) as response:
            if response.status >= 400:
                self._refuse(Doing.ASK, response, response.data, ())
            try:
                yield response
            except Busy as error:  # told within the stream
                self._heed(error)
                raise

    def _refuse(self, doing: Doing, response: urllib3.BaseHTTPResponse, data: bytes, secrets: Iterable[str]) -> None:
        error = explain(doing, response.status, data, response.headers.get("Retry-After", ""), secrets)
        if isinstance(error, Busy):
            self._heed(error)
        raise error

    def _heed(self, busy: Busy) -> None:
        with self._lock:
            self._quiet_until_s = time.monotonic() + min(busy.retry_after_s, QUIET_MAX_S)

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        *,
        silence_s: float,
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        with self._lock:
            wait_s = self._quiet_until_s - time.monotonic()
        if wait_s > 0:
            raise Unavailable(f"the API server has asked to be left alone for another {wait_s:.0f} s")
        with translated():
            response = self._pool.request(
                method,
                f"{self._configuration.host}{path}{f'?{urlencode(query)}' if query else ''}",
                body=None if body is None else json.dumps(body).encode(),
                headers=self._headers(content_type),
                timeout=urllib3.Timeout(connect=self._timeout_s, read=silence_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            self._note_time(response.headers.get("Date", ""))
            try:
                yield response
            finally:
                response.close()  # the connection of what was read whole is back in the pool by now

    def _note_time(self, date: str) -> None:
        with suppress(ValueError, OverflowError):
            told = parsedate_to_datetime(date).replace(tzinfo=UTC)
            with self._lock:
                self._told_time = told, time.monotonic()

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": "pman"}
        for setting in self._configuration.auth_settings().values():  # renews a token that is due
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        return headers


def connect(own: KubernetesSettings) -> Api:
    """Return the connection that the settings ask for; nothing is asked yet.

    Raises:
        Rejected: there is no such kubeconfig or context, and no service account.
    """
    configuration = kubernetes.client.Configuration()
    try:
        is_in_cluster = not (own.kubeconfig or own.kube_context) and _load_service_account(configuration)
        if not is_in_cluster:
            kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
                own.kubeconfig or None, own.kube_context or None, configuration, persist_config=False
            )
    except (ConfigException, OSError) as error:
        raise Rejected(f"KUBECONFIG: {error}") from error
    configuration.retries = False
    return Api(configuration, own.kube_timeout_s, is_in_cluster=is_in_cluster)


def _load_service_account(configuration: Any) -> bool:
    try:
        kubernetes.config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except ConfigException:
        return False
    return True


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the layers below raise into the errors of the house."""
    try:
        yield
    except BackendError:
        raise
    except (urllib3.exceptions.SSLError, ssl.SSLError) as error:
        raise Unavailable(f"no TLS with the API server: {error}") from error
    except (urllib3.exceptions.HTTPError, OSError, ConfigException) as error:
        raise Unavailable(f"the API server does not answer: {type(error).__name__}: {error}") from error

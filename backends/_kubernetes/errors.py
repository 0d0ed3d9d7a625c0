"""What the API server's refusals mean. Pure: a table, tested on replies that a real one has given.

Codes and reasons: https://github.com/kubernetes/apimachinery/blob/v0.35.0/pkg/apis/meta/v1/types.go (StatusReason)
The conventions: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#http-status-codes
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from backends._kubernetes.job import verbatim
from pman_core.errors import BackendError, Conflict, Rejected, Unavailable, Unparseable
from pman_core.states import Reason

MESSAGE_CHARS_MAX = 600
GO_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
"""What Go's JSON has for these: https://pkg.go.dev/encoding/json#Marshal"""
RETRY_AFTER_S = 1.0
"""If the server does not say how long: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/"""
SECRET_CHARS_MIN = 4
"""Shorter values are not looked for: every 1 of a message would be struck out."""
NO_SECRETS = frozenset({"true", "false", "none", "null"})
"""They hide nothing, and refusals are told with them: ``allowPrivilegeEscalation != false``."""


class Doing(Enum):
    """What was asked for: the same refusal does not mean the same everywhere."""

    ASK = "ask"
    CREATE = "create"
    CHANGE = "change"


class NameTaken(Conflict):
    """There is a Job of this name, perhaps this very one: look."""


class NotThere(Unavailable):
    """The object that was asked about is not there (any more)."""


class OutOfDate(Unavailable):
    """The object has changed since it was read: read it again."""


class Expired(Unavailable):
    """The place in a list or a stream is too old (410): begin again."""


class Forbidden(Unavailable):
    """We lack a right; whoever runs the cluster can give it, so jobs wait."""


class Busy(Unavailable):
    """The server asks to be left alone for a while."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Row:
    """If all of this matches, the error is ``meaning(message)``. Empty sets match everything."""

    doing: frozenset[Doing]
    codes: frozenset[int]
    reasons: frozenset[str]
    pattern: re.Pattern[str]
    meaning: Callable[[str], BackendError]


def _row(doing: str, codes: str, reasons: str, pattern: str, meaning: Callable[[str], BackendError]) -> Row:
    return Row(
        frozenset(Doing(word) for word in doing.split()),
        frozenset(map(int, codes.split())),
        frozenset(reasons.split()),
        re.compile(pattern, re.IGNORECASE),
        meaning,
    )


def _rejected(message: str) -> BackendError:
    return Rejected(message, Reason.REJECTED)


NOT_NOW = "exceeded quota|status unknown for quota|not yet ready to handle request"
"""A refusal that passes. https://kubernetes.io/docs/concepts/policy/resource-quotas/: there is room when other jobs
have ended; or nobody has counted yet what is used of a new quota. The last one is that of an API server that has been
started just now and has not read yet what it decides by:
https://github.com/kubernetes/apiserver/blob/v0.35.0/pkg/admission/plugin/namespace/lifecycle/admission.go"""

TABLE = (
    _row("create", "409", "AlreadyExists", "", NameTaken),
    # A quota or another object that was changed at the same time: the same POST may do a moment later.
    _row("create", "409", "", "", Unavailable),
    _row("change", "409 412", "", "", OutOfDate),
    _row("ask", "410", "", "", Expired),
    _row("ask change", "404", "", "", NotThere),
    # A log before there is one, or of what has never begun and has ended:
    # https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/kubelet/kubelet_pods.go (validateContainerLogStatus)
    _row(
        "ask",
        "400",
        "",
        "waiting to start|is terminated|is not available|failing to pull image|does not have a host",
        NotThere,
    ),
    _row("create", "403", "", NOT_NOW, Unavailable),
    _row("create", "403 404", "", r"namespaces? \S+ not found|because it is being terminated", Unavailable),
    # A quota of a resource refuses what does not say how much it wants; IGNORE_LIMITS is the site's.
    _row("create", "403", "", "failed quota", _rejected),
    # The authorizer's own words, and nobody else's: what an admission plugin refuses is the job's fault.
    _row("", "403", "", r"\bcannot \w+ resource\b", Forbidden),
    _row("", "401", "", "", Unavailable),
    # Over when the webhook, etcd or the server is well again.
    _row("", "408 500 502 503 504", "", "", Unavailable),
    _row("create", "400 403 404 405 413 422", "", "", _rejected),
    _row("ask change", "403", "", "", Forbidden),
)
"""The first row that matches counts."""


def explain(doing: Doing, code: int, body: bytes, retry_after: str = "", secrets: Iterable[str] = ()) -> BackendError:
    """Return the error that a reply means. Of ``secrets`` (values of a job's environment) nothing is in it."""
    status = _status(body)
    text = str(status.get("message") or body.decode(errors="replace"))
    message = scrub(text, secrets)
    reason = str(status.get("reason") or "")
    if code == 429:
        return Busy(message, _patience_s(status, retry_after))
    for row in TABLE:
        matches = (
            (not row.doing or doing in row.doing)
            and code in row.codes
            and (not row.reasons or reason in row.reasons)
            and row.pattern.search(text)
        )
        if matches:
            return row.meaning(message)
    return Unparseable(f"the API server answered HTTP {code} {reason} to {doing.value}: {message}", message)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return one line of ``text``, cut, without the objects that the API server quotes and without ``secrets``.

    A refusal may quote the whole pod, ``Invalid value: core.PodTemplateSpec{...}``, with all its variables.
    """
    text = strike(text, forms_of(secrets))
    text = re.sub(r"(Invalid value: )(?:\w+\.)?\w*\{.*\}(?=: )", r"\1{...}", text, flags=re.DOTALL)
    return " ".join(text.split())[:MESSAGE_CHARS_MAX]


def strike(text: str, forms: Iterable[str]) -> str:
    """Return ``text`` without ``forms``, which :func:`forms_of` has made of values of variables."""
    for form in forms:
        text = text.replace(form, "***")
    return text


def forms_of(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return how values of variables may be quoted: as they are or as they were sent, plain or in JSON of Python or Go,
    or in JSON within JSON, as the spec among the annotations of a Job that is quoted.

    The longest first: one may be a part of another.
    """
    hidden = [value for value in secrets if len(value) >= SECRET_CHARS_MIN and value.lower() not in NO_SECRETS]
    plain = {form for value in hidden for form in (value, verbatim(value))}
    once = {json.dumps(form, ensure_ascii=is_ascii)[1:-1] for form in plain for is_ascii in (True, False)}
    quoted = once | {json.dumps(form, ensure_ascii=is_ascii)[1:-1] for form in once for is_ascii in (True, False)}
    return tuple(sorted(plain | quoted | {form.translate(GO_ESCAPES) for form in quoted}, key=len, reverse=True))


def _patience_s(status: Mapping[str, Any], retry_after: str) -> float:
    """Return how long the server wants to be left alone. An error within a watch has no header, and says it itself."""
    details = status.get("details")
    asked = str(retry_after or (details.get("retryAfterSeconds") if isinstance(details, dict) else ""))
    return float(asked) if asked.isdecimal() else RETRY_AFTER_S


def _status(body: bytes) -> dict[str, Any]:
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}

"""Ends that are written into a Job: why pman ended it, before it does; and how it ended beside containers of the site.
Pure.

The annotation is only ever written to a Job that has not ended (the patch carries its resourceVersion), and never
changed: so it is the end of the job, however its pods end after it and whoever looks, after a loss of Redis too.

The other annotation keeps what Kubernetes does not know: that all workers had ended while proxies beside them went on.
When these end at last, at the time limit, say, the Job controller deletes the pods that are slower, and what is left
does not tell it any more. A Job has one of the two at most.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from backends._kubernetes.identity import KEPT_END, VERDICT
from pman_core.states import Reason

MESSAGE_CHARS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end that pman has ordered, or seen."""

    reason: Reason | None
    """``None`` if the job has ended well, by itself."""
    message: str
    at: datetime
    exit_code: int | None = None
    """Of the worker because of which the job is ended: its pod may be the first to be gone."""

    def to_json(self) -> str:
        """Return the annotation's text, at most 4 KiB."""
        message = self.message[:MESSAGE_CHARS_MAX].encode()[: 2 * MESSAGE_CHARS_MAX].decode(errors="ignore")
        said = {"reason": self.reason, "message": message, "at": self.at.isoformat(), "exit_code": self.exit_code}
        return json.dumps(said, ensure_ascii=False)


def verdict_of(annotations: Mapping[str, str] | None) -> Verdict | None:
    """Return the verdict of a Job; ``None`` if pman has not ended it, or somebody has spoiled the text."""
    found = _read(annotations, VERDICT)
    return None if found is None or found.reason is None else found


def kept_end_of(annotations: Mapping[str, str] | None) -> Verdict | None:
    """Return how a job is known to have ended while its Job went on; ``None`` if it has not, or the text is spoiled."""
    return _read(annotations, KEPT_END)


def _read(annotations: Mapping[str, str] | None, name: str) -> Verdict | None:
    try:
        said = json.loads((annotations or {})[name])
        at, code = datetime.fromisoformat(said["at"]).astimezone(UTC), said.get("exit_code")
        reason = None if said["reason"] is None else Reason(said["reason"])
        return Verdict(reason, str(said["message"]), at, None if code is None else int(code))
    except (ValueError, KeyError, TypeError):
        return None

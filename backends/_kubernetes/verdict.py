"""Why pman ended a job, written into its Job before it is ended. Pure.

The annotation is only ever written to a Job that has not ended (the patch carries its resourceVersion), and never
changed: so it is the end of the job, however its pods end after it and whoever looks, after a loss of Redis too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from backends._kubernetes.identity import VERDICT
from pman_core.states import Reason

MESSAGE_CHARS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end that pman has ordered."""

    reason: Reason
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
    try:
        said = json.loads((annotations or {})[VERDICT])
        at, code = datetime.fromisoformat(said["at"]).astimezone(UTC), said.get("exit_code")
        return Verdict(Reason(said["reason"]), str(said["message"]), at, None if code is None else int(code))
    except (ValueError, KeyError, TypeError):
        return None

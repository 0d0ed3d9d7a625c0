"""Whose a native object is, and the job it carries, wherever a scheduler keeps such texts. Pure.

For every backend whose scheduler has labels or annotations.
"""

from dataclasses import dataclass

from pman_core.job import JobSpec


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a native object is."""

    jid: str
    generation: str
    instance: str
    digest: str


def read_spec(text: str) -> JobSpec | None:
    """Return the spec that an object carries as ``text``; ``None`` if it cannot be read."""
    try:
        return JobSpec.from_json(text)
    except (ValueError, KeyError, TypeError):
        return None

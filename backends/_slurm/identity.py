"""Whose a job of Slurm is: its name and its comment say it. Pure.

The comment carries everything; where a site's plugin has overwritten it, the name still has the generation, and the
control folder of that generation the rest.
"""

from backends._identity import Identity
from pman_core.job import GENERATION_PATTERN, JobSpec

VERSION = "pman/1"
GENERATION_LENGTH = 26


def comment_of(spec: JobSpec) -> str:
    """Return the comment of a job: words with blanks between them, the jid last."""
    return " ".join((VERSION, spec.instance, spec.generation, spec.request.digest, spec.jid))


def identity_from(comment: str) -> Identity | None:
    """Read a comment; ``None`` if it is not one of ours."""
    words = comment.split()
    if len(words) != 5 or words[0] != VERSION:
        return None
    _, instance, generation, digest, jid = words
    if not GENERATION_PATTERN.fullmatch(generation):
        return None
    return Identity(jid=jid, generation=generation, instance=instance, digest=digest)


def generation_from(name: str) -> str:
    """Return the generation at the end of a job's name; ``""`` if it is none of ours."""
    generation = name[-GENERATION_LENGTH:]
    return generation if name.startswith("pman-") and GENERATION_PATTERN.fullmatch(generation) else ""

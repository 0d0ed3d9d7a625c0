"""What slurmrestd's refusals mean. Pure: a table by Slurm's error numbers, tested on replies that a real one has given.

The numbers: https://github.com/SchedMD/slurm/blob/slurm-25-05-0-1/slurm/slurm_errno.h
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pman_core.errors import BackendError, Rejected, Unavailable, Unparseable

INVALID_JOB_ID = 2017
ALREADY_DONE = 2021
JOB_HELD = 2042
NOTHING_FOUND = 9003
"""Of the accounting: an empty answer, and no error."""
UNSPECIFIED = -1
ZERO_BYTES = 5005
"""Slurmctld has hung up. Slurm 22.05 says this and :data:`UNSPECIFIED` of a token that is bad or too old."""
AMBIGUOUS = frozenset({UNSPECIFIED, ZERO_BYTES, 1007})

NEVER = frozenset(
    {2000, 2002, 2003, 2004, 2005, 2006, 2007, 2008, 2009, 2010, 2012, 2014, 2015, 2023, 2025, 2029, 2036, 2039, 2044}
    | {2045, 2048, 2051, 2052, 2053, 2054, 2057, 2066, 2072, 2073, 2079, 2083, 2115, 2127, 9001, 9200}
)
"""The same order will always be refused."""
NOT_NOW = frozenset({UNSPECIFIED, 2002, 2016, 2027, 2037, 2041, 2050, 2055, 2056, 2059})
"""And whatever Slurm has no answer to at all: the numbers of its transport, see :func:`_is_of_transport`.

2050 is a limit of an account or a QOS: most of them are of jobs at once.
"""

MESSAGE_CHARS_MAX = 600


def numbers_in(reply: Any) -> frozenset[int]:
    """Return the error numbers of a reply."""
    return frozenset(_number(error) for error in _errors(reply))


def text_of(reply: Any) -> str:
    """Return what a reply says is wrong, for people."""
    texts: dict[str, None] = {}
    for error in _errors(reply):
        name, description = error.get("error") or "", error.get("description") or ""
        if name not in ("", "Unspecified error", "Failure during parsing"):
            texts[name] = None
        if description and (not name or name not in description):
            texts[description] = None
    return "; ".join(texts)[:MESSAGE_CHARS_MAX] or "slurmrestd says no more than that it failed"


def may_be_the_token(code: int, reply: Any) -> bool:
    """Whether another token may be what helps."""
    return code in (401, 403) or any(number in AMBIGUOUS or 6000 <= number < 7000 for number in numbers_in(reply))


def error_from(code: int, reply: Any, raw: str, *, is_order: bool) -> BackendError:
    """Return the error that a reply with HTTP status ``code`` is; ``reply`` is its JSON, or ``None``.

    Only an order can be refused for good.
    """
    numbers = numbers_in(reply)
    if code in (401, 403):
        return Unavailable(f"slurmrestd does not take the user's token ({code})")
    if is_order and (code in (400, 413) or numbers & NEVER):
        return Rejected(f"Slurm refuses the job: {text_of(reply)}")
    if numbers & NOT_NOW or any(map(_is_of_transport, numbers)):
        return Unavailable(f"Slurm gives slurmrestd no answer: {text_of(reply)}")
    if code in (408, 429, 502, 503, 504):
        return Unavailable(f"slurmrestd, or what is before it, answers {code}")
    return Unparseable(f"slurmrestd answers {code}: {text_of(reply)}", raw)


def _is_of_transport(number: int) -> bool:
    return 1000 <= number < 2000 or 5000 <= number < 8000


def _errors(reply: Any) -> Sequence[Mapping[str, Any]]:
    errors = reply.get("errors") if isinstance(reply, Mapping) else None
    return [error for error in errors or () if isinstance(error, Mapping)]


def _number(error: Mapping[str, Any]) -> int:
    return int(error.get("error_number", error.get("error_code", UNSPECIFIED)))

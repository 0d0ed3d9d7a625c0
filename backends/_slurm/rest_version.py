"""Which version of its interface a slurmrestd is spoken to in. Pure.

A slurmrestd serves three or so at once, and a release of Slurm drops the oldest one:
https://slurm.schedmd.com/rest_api.html, https://slurm.schedmd.com/slurmrestd.html
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pman_core.errors import Rejected

OLDEST, NEWEST_KNOWN = 36, 43
"""Of v0.0.N: Slurm 20.11 to 25.05. A newer one is spoken to as the newest that is known."""
NUMBERS_ARE_OBJECTS_FROM, STATES_ARE_LISTS_FROM = 39, 40
PATH = re.compile(r"/(slurm|slurmdb)/v0\.0\.(\d+)/jobs/?")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the interface."""

    number: int
    has_accounting: bool

    def __str__(self) -> str:
        return f"v0.0.{self.number}"

    @property
    def is_legacy(self) -> bool:
        """Numbers are numbers, the environment is an object, and the script lies beside the job."""
        return self.number < NUMBERS_ARE_OBJECTS_FROM


def choose(paths: Iterable[str]) -> Version:
    """Return the newest version that is known, or else the oldest of the newer ones.

    ``paths`` are those of the document ``/openapi/v3``.

    Raises:
        Rejected: nothing that can be spoken is served.
    """
    found: dict[str, set[int]] = {"slurm": set(), "slurmdb": set()}
    for match in filter(None, map(PATH.fullmatch, paths)):
        found[match[1]].add(int(match[2]))
    usable = sorted(number for number in found["slurm"] if number >= OLDEST)
    if not usable:
        served = ", ".join(f"v0.0.{number}" for number in sorted(found["slurm"])) or "nothing of slurmctld"
        raise Rejected(f"slurmrestd serves {served}; pman speaks v0.0.{OLDEST} and later")
    known = [number for number in usable if number <= NEWEST_KNOWN]
    number = known[-1] if known else usable[0]
    return Version(number, has_accounting=number in found["slurmdb"])

"""A backend that can be put under fire, seen from outside: the base of every one in :mod:`tests.faults.worlds`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.engines.jobs import IMAGE
from tests.faults.evidence import Body, Native, Traces

SCRIPT = """
until echo "$$ $(date +%s) ${PMAN_GENERATION:-$HOSTNAME}" >> "$4/begins"; do sleep 0.2; done
sleep "$1"
until echo "$$ $(date +%s) ${PMAN_GENERATION:-$HOSTNAME}" >> "$4/ends"; do sleep 0.2; done
exit "$2"
"""
"""Leaves a line at its begin and at its end, however long the disk is full."""


class World(ABC):
    """One scheduler, from outside."""

    backend: ClassVar[str]
    entrypoint: ClassVar[Sequence[str]] = ("sh", "-c", SCRIPT, "job")
    image: ClassVar[str] = IMAGE
    pulls: ClassVar[bool] = False
    """Whether a worker for images belongs to the system."""

    def __init__(self, folder: Path, instance: str) -> None:
        self.folder = folder
        self.instance = instance
        self.store_base = folder / "store"

    def prepare(self) -> Mapping[str, str]:
        """Start what must be there before pman does; return the settings that lead to it."""
        return {}

    def request(self, body: Body) -> dict[str, Any]:
        """Return what is POSTed."""
        return {
            "jid": body.jid,
            "args": [str(body.seconds), str(body.exit_code), body.tag],
            "auid": "cube",
            "number_of_workers": 1,
            "cpu_limit": 1000,
            "memory_limit": 200,
            "gpu_limit": 0,
            "image": self.image,
            "entrypoint": list(self.entrypoint),
            "type": "fs",
            "env": [],
            "input_dir": f"{body.jid}/in",
            "output_dir": body.output_dir,
        }

    def make_folders(self, body: Body) -> None:
        """As pfcon does before it calls."""
        for name in (f"{body.jid}/in", body.output_dir):
            folder = self.store_base / name
            folder.mkdir(parents=True, exist_ok=True)

    def traces(self, bodies: Sequence[Body]) -> dict[str, Traces]:
        """Return what the jobs have written themselves."""
        return {
            body.tag: Traces(*(lines(self.store_base / body.output_dir / name) for name in ("begins", "ends")))
            for body in bodies
        }

    @abstractmethod
    def natives(self) -> list[Native]:
        """Return every object that the scheduler has of this instance."""

    def processes(self) -> list[str]:
        """Return the processes of jobs that live on this machine, if jobs are processes of this machine."""
        return []

    def close(self) -> None:
        """End what ``prepare`` has started."""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []

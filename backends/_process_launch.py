"""What the process backend starts a job with: argv, environment, user and limits. Pure.

https://man7.org/linux/man-pages/man2/execve.2.html (limits on size of arguments and environment)
https://man7.org/linux/man-pages/man2/getrlimit.2.html (RLIMIT_AS)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from backends._process_host import GENERATION_VARIABLE
from backends._share_paths import rewrite_paths
from pman_core.errors import Rejected
from pman_core.job import JobSpec, stable_choice

BASE_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""What a job has in its environment without asking: nothing of the worker's."""


@dataclass(frozen=True, slots=True)
class Launch:
    """``launch.json``, for the supervisor; and ``job``, from which a lost record is rebuilt."""

    identity: Mapping[str, str]
    job: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    user: tuple[int, int] | None
    cores: Sequence[int]
    """Empty: all."""
    memory_bytes: int | None
    time_limit_s: float | None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def build_argv(spec: JobSpec, incoming: Path, outgoing: Path) -> list[str]:
    return [rewrite_paths(argument, incoming, outgoing) for argument in spec.argv]


def build_env(spec: JobSpec, incoming: Path, outgoing: Path, home: str) -> dict[str, str]:
    """Return the whole environment; what the request asks for counts, but for the mark that the job is found by."""
    asked = {name: rewrite_paths(value, incoming, outgoing) for name, value in spec.env.items()}
    return {**BASE_ENV, "HOME": home} | asked | {GENERATION_VARIABLE: spec.generation}


def choose_cores(millicores: int, available: Sequence[int], generation: str) -> list[int]:
    """Return as many whole cores as needed, beginning anywhere, so that small jobs do not meet on the first one.

    Raises:
        Rejected: there are not so many.
    """
    count = -(-millicores // 1000)
    if count > len(available):
        raise Rejected(f"cpu_limit: the job wants {count} cores, this host has {len(available)}")
    first = stable_choice(f"{generation} core", 0, len(available) - 1)
    return [available[(first + step) % len(available)] for step in range(count)]

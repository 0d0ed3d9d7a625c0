"""How the engines differ behind the same API. Pure data; every entry was seen on Docker 20.10 and Podman 4.3."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends._engine.container import Gpus


@dataclass(frozen=True, slots=True)
class Dialect:
    """One engine's way."""

    name: str
    component: str
    """Its name among the Components of ``GET /version``."""
    gpus: Gpus
    tells_oom: bool
    """State.OOMKilled can be believed when it is false (Podman 4.3 with cgroup v1 never sets it)."""
    quotes_mounts: bool
    """A folder may have any name (Podman rebuilds mounts as text with commas: a name could bring options along)."""
    keeps_start_errors: bool
    """A container that could not be started says so ever after."""
    forgets_starts: bool
    """Killed as a program begins, it shows a container that was made and not started when it is back."""
    cuts_logs: bool
    """It can be asked for the last lines (Podman 4.3 then leaves out, or joins, lines without an end)."""
    subpath_since: tuple[int, int] | None
    """The API version from which a volume can be mounted below its root."""
    gpu_runtimes: frozenset[str]

    def is_spoken_by(self, version: Mapping[str, Any]) -> bool:
        return any(part["Name"] == self.component for part in version.get("Components") or ())

    def has_subpath(self, api_version: str) -> bool:
        if self.subpath_since is None:
            return False
        major, minor = api_version.split(".")
        return (int(major), int(minor)) >= self.subpath_since

    def has_gpus(self, info: Mapping[str, Any]) -> bool:
        """Whether the engine itself says that it has GPUs for containers."""
        return bool(self.gpu_runtimes & (info.get("Runtimes") or {}).keys()) or bool(info.get("DiscoveredDevices"))


DOCKER = Dialect(
    name="docker",
    component="Engine",
    gpus="requests",
    tells_oom=True,
    quotes_mounts=True,
    keeps_start_errors=True,
    forgets_starts=True,
    cuts_logs=True,
    subpath_since=(1, 45),
    gpu_runtimes=frozenset({"nvidia"}),
)
PODMAN = Dialect(
    name="podman",
    component="Podman Engine",
    gpus="cdi",
    tells_oom=False,
    quotes_mounts=False,
    keeps_start_errors=False,
    forgets_starts=False,
    cuts_logs=False,
    subpath_since=None,
    gpu_runtimes=frozenset(),
)

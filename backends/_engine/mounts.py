"""Where a job's two folders come from, as mounts of the Engine API; the same for containers and for Swarm's tasks.

https://docs.docker.com/reference/api/engine/version/v1.45/#tag/Container/operation/ContainerCreate (HostConfig.Mounts)
https://docs.docker.com/engine/storage/volumes/#create-a-service-which-creates-an-nfs-volume
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backends._folders import prepare_folders
from pman_core.command import INCOMING, OUTGOING
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings

Mount = dict[str, Any]
Owner = tuple[int, int] | None


class Storage(Protocol):
    """One STORAGE_TYPE."""

    def mounts(self, spec: JobSpec, owner: Owner) -> list[Mount]:
        """Return the mounts of a job, the incoming folder read-only; what is missing of the folders is made.

        Raises:
            Rejected, Unavailable: see :func:`pman_core.storage.resolve_beneath`.
        """


@dataclass(frozen=True, slots=True)
class HostFolders:
    """Folders below a base that pman sees as ``base`` and the engine as ``engine_base``."""

    base: Path
    engine_base: Path

    def mounts(self, spec: JobSpec, owner: Owner) -> list[Mount]:
        incoming, outgoing = prepare_folders(self.base, spec, owner)
        real = self.base.resolve()
        return [
            _mount("bind", str(self.engine_base / incoming.relative_to(real)), INCOMING, read_only=True),
            _mount("bind", str(self.engine_base / outgoing.relative_to(real)), OUTGOING),
        ]


@dataclass(frozen=True, slots=True)
class VolumeFolders:
    """Folders of a named volume, found by the engine itself, which lets no link lead out of it. API 1.45."""

    volume: str
    base: Path | None
    """Where pman sees the volume, if it does: then what is missing of the folders is made."""

    def mounts(self, spec: JobSpec, owner: Owner) -> list[Mount]:
        if self.base is not None:
            prepare_folders(self.base, spec, owner)
        return [
            self._mount(spec.request.input_dir, INCOMING, read_only=True),
            self._mount(spec.request.output_dir, OUTGOING, read_only=False),
        ]

    def _mount(self, folder: str, target: str, *, read_only: bool) -> Mount:
        return _mount("volume", self.volume, target, read_only=read_only) | {"VolumeOptions": {"Subpath": folder}}


@dataclass(frozen=True, slots=True)
class NfsFolders:
    """Folders of an NFS export, mounted by the engine's machine for the job alone, and gone with its container."""

    server: str
    export: Path
    """The path of the store on the server: STOREBASE."""

    def mounts(self, spec: JobSpec, owner: Owner) -> list[Mount]:
        if self.export.is_dir():  # pman sees the store, too
            prepare_folders(self.export, spec, owner)
        return [
            self._mount(spec.request.input_dir, INCOMING, read_only=True),
            self._mount(spec.request.output_dir, OUTGOING, read_only=False),
        ]

    def _mount(self, folder: str, target: str, *, read_only: bool) -> Mount:
        options = {"type": "nfs", "o": f"addr={self.server},{'ro' if read_only else 'rw'}"}
        driver = {"Name": "local", "Options": options | {"device": f":{self.export / folder}"}}
        return _mount("volume", "", target, read_only=read_only) | {"VolumeOptions": {"DriverConfig": driver}}


def storage_of(common: CommonSettings, volume: "Volume | None", *, has_subpath: bool) -> Storage:
    """Return the storage that STORAGE_TYPE asks for; ``volume`` is what was found for ``docker_local_volume``."""
    base = common.storebase
    if common.storage_type == "nfs" and base is not None:
        return NfsFolders(common.nfs_server, base)
    if volume is None:
        return HostFolders(base or Path(), base or Path())
    if has_subpath:
        return VolumeFolders(volume.name, base)
    return HostFolders(base or volume.mountpoint, volume.mountpoint)


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume, and its folder on the engine's machine."""

    name: str
    mountpoint: Path


def refuse_what_podman_splits(mounts: Iterable[Mount]) -> None:
    """Refuse sources that Podman would take apart, and mount something else.

    Raises:
        Rejected: a source has a comma, a double quote, or a control character.
    """
    for mount in mounts:
        device = mount.get("VolumeOptions", {}).get("DriverConfig", {}).get("Options", {}).get("device", "")
        text = f"{mount['Source']}{device}"
        if any(character in ',"' or not character.isprintable() for character in text):
            folder = "input_dir" if mount["Target"] == INCOMING else "output_dir"
            raise Rejected(f"{folder}: Podman takes no folder with a comma, a double quote or a control character")


def _mount(kind: str, source: str, target: str, *, read_only: bool = False) -> Mount:
    return {"Type": kind, "Source": source, "Target": target, "ReadOnly": read_only}

"""Where a job's two folders come from, as volumes and mounts of a pod.

https://kubernetes.io/docs/concepts/storage/volumes/ (hostPath, nfs, persistentVolumeClaim, subPath)
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from backends._folders import prepare_folders
from pman_core.command import INCOMING, OUTGOING
from pman_core.errors import Rejected, Unavailable
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings

Body = dict[str, Any]
Owner = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Volumes:
    """Volumes of a pod, and where its container has them."""

    volumes: list[Body] = field(default_factory=list)
    mounts: list[Body] = field(default_factory=list)


class Storage(Protocol):
    """One STORAGE_TYPE."""

    def volumes(self, spec: JobSpec, owner: Owner) -> Volumes:
        """Return the job's folders, the incoming one read-only; what is missing of them is made if pman sees them.

        Raises:
            Rejected, Unavailable: see :func:`pman_core.storage.resolve_beneath`.
        """


@dataclass(frozen=True, slots=True)
class HostFolders:
    """Folders of the nodes, under the same path on each of them."""

    base: Path
    is_seen: bool
    """Whether pman sees them, too, and so checks and makes them. If not, a symbolic link in them is followed."""

    def volumes(self, spec: JobSpec, owner: Owner) -> Volumes:
        if self.is_seen:
            incoming, outgoing = prepare_folders(self.base, spec, owner)
        else:
            incoming, outgoing = self.base / spec.request.input_dir, self.base / spec.request.output_dir
        return Volumes(
            [
                {"name": "incoming", "hostPath": {"path": str(incoming), "type": "Directory"}},
                {"name": "outgoing", "hostPath": {"path": str(outgoing), "type": "Directory"}},
            ],
            [_mount("incoming", INCOMING, read_only=True), _mount("outgoing", OUTGOING)],
        )


@dataclass(frozen=True, slots=True)
class NfsFolders:
    """Folders of an NFS export, mounted by the kubelet for the pod alone."""

    server: str
    export: Path
    """The path of the store on the server: STOREBASE."""
    is_seen: bool

    def volumes(self, spec: JobSpec, owner: Owner) -> Volumes:
        if self.is_seen:
            prepare_folders(self.export, spec, owner)
        incoming, outgoing = self.export / spec.request.input_dir, self.export / spec.request.output_dir
        return Volumes(
            [
                {"name": "incoming", "nfs": {"server": self.server, "path": str(incoming), "readOnly": True}},
                {"name": "outgoing", "nfs": {"server": self.server, "path": str(outgoing)}},
            ],
            [_mount("incoming", INCOMING, read_only=True), _mount("outgoing", OUTGOING)],
        )


@dataclass(frozen=True, slots=True)
class ClaimFolders:
    """Folders of a volume that is claimed; the kubelet finds them and lets no symbolic link lead out of it."""

    claim: str
    base: Path | None
    """Where pman sees the volume, if it does: then what is missing of the folders is made. Else the kubelet does it."""

    def volumes(self, spec: JobSpec, owner: Owner) -> Volumes:
        for name, folder in (("input_dir", spec.request.input_dir), ("output_dir", spec.request.output_dir)):
            if not folder.strip("/"):  # the whole store of everybody would be mounted
                raise Rejected(f"{name}: must name a folder of the volume, it is empty")
        if self.base is not None:
            prepare_folders(self.base, spec, owner)
        return Volumes(
            [{"name": "store", "persistentVolumeClaim": {"claimName": self.claim}}],
            [
                _mount("store", INCOMING, read_only=True) | {"subPath": spec.request.input_dir},
                _mount("store", OUTGOING) | {"subPath": spec.request.output_dir},
            ],
        )


def storage_of(common: CommonSettings, *, is_in_cluster: bool = False) -> Storage:
    """Return the storage that STORAGE_TYPE asks for; ``is_in_cluster`` says that pman itself runs in a pod.

    Raises:
        Rejected: Kubernetes has no such storage, or the name of the claim is missing.
        Unavailable: whether pman sees the store cannot be told now.
    """
    base = common.storebase
    if common.storage_type == "kubernetes_pvc":
        if not common.volume_name:
            raise Rejected("VOLUME_NAME: is required when STORAGE_TYPE is kubernetes_pvc")
        has_base = base is not None and is_seen(base, is_in_cluster=is_in_cluster)
        return ClaimFolders(common.volume_name, base if has_base else None)
    if base is not None and common.storage_type == "nfs":
        return NfsFolders(common.nfs_server, base, is_seen(base, is_in_cluster=is_in_cluster))
    if base is not None and common.storage_type == "host":
        return HostFolders(base, is_seen(base, is_in_cluster=is_in_cluster))
    raise Rejected(f"STORAGE_TYPE: must be host, nfs or kubernetes_pvc, not {common.storage_type}")


def is_seen(base: Path, *, is_in_cluster: bool) -> bool:
    """Whether a folder of this name is the store. In a pod it may be one of pman's own image: the store is a mount.

    Raises:
        Unavailable: its file system does not say.
    """
    try:
        return base.is_dir() and (not is_in_cluster or base.stat().st_dev != Path("/").stat().st_dev)
    except PermissionError:  # what pman may not look at it cannot make folders in
        return False
    except OSError as error:
        raise Unavailable(f"STOREBASE: {base}: {error.strerror}") from error


def _mount(volume: str, path: str, *, read_only: bool = False) -> Body:
    return {"name": volume, "mountPath": path, "readOnly": read_only}

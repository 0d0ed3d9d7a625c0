"""Finding the named volume of STORAGE_TYPE=docker_local_volume: by its name, or as the one that pfcon has mounted."""

from pathlib import Path

from backends._engine.client import Client, translated
from backends._engine.errors import Doing, NotThere
from backends._engine.mounts import Volume
from pman_core.errors import Rejected, Unavailable
from pman_core.settings import Settings as CommonSettings


def find_volume(client: Client, common: CommonSettings) -> Volume | None:
    """Return the volume; ``None`` where the storage is another one.

    Raises:
        Rejected: pfcon has several volumes, or this one cannot be used.
        Unavailable: it is not there (yet).
    """
    if common.storage_type != "docker_local_volume":
        if common.storage_type == "kubernetes_pvc":
            raise Rejected("STORAGE_TYPE: kubernetes_pvc is for Kubernetes only")
        return None
    name = common.volume_name or _volume_of_pfcon(client, common.pfcon_selector)
    try:
        with translated(Doing.ASK):
            volume = client.inspect_volume(name)
    except NotThere as error:
        raise Unavailable(f"VOLUME_NAME: the engine has no volume {name!r} (yet)") from error
    return Volume(name, Path(volume["Mountpoint"]))


def _volume_of_pfcon(client: Client, selector: str) -> str:
    with translated(Doing.ASK):
        found = client.containers(all=True, filters={"label": [selector]})
    names = {mount["Name"] for container in found for mount in container["Mounts"] if mount["Type"] == "volume"}
    if not names:
        raise Unavailable(f"PFCON_SELECTOR: no container with the label {selector} and a volume (yet): set VOLUME_NAME")
    if len(names) > 1:
        raise Rejected(f"PFCON_SELECTOR: {selector} has several volumes, set VOLUME_NAME: {', '.join(sorted(names))}")
    return str(names.pop())

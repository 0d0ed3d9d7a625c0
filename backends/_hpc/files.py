"""What the launcher is given for one job: the files of its control folder. Pure.

``launch`` holds ``NAME=VALUE`` items, every one of these names exactly once:

==================  ===================================================================================
path                PATH of the launcher and of the runtime
store               the store base; ``incoming`` and ``outgoing`` are folders below it
program             the runtime's command
image               the image as the job asks for it; ``""`` for a bare command
cache               the folder of fetched images; ``""``: the runtime keeps its own
images              the folder of images that the site has put there, or ``""``
source, archive     where an image is fetched from, and the prefix for archives of ``images``
name                what the fetched image is called in the cache
policy              IMAGE_PULL_POLICY
pull_timeout_s      IMAGE_PULL_TIMEOUT_S, whole seconds
pull_flags          options of the pull, with blanks between them
scratch             a folder of the node; ``scratch_flag`` is the runtime's option for one in it
gpu_variable        what the runtime is told CUDA_VISIBLE_DEVICES by, or ``""`` for a job without GPUs
tasks               how many containers run side by side, one per node, by ``srun``
kill                the container that is to be killed on SIGTERM, or ``""``: it is a child and gets it itself
start_failures      see ``runtime.py``, and ``start_mark``
heartbeat_s         how often the launcher says that it is there, and looks whether the job is over, in seconds
grace_s             of a job that is over, from SIGTERM to SIGKILL, whole seconds
==================  ===================================================================================
"""

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backends._hpc.runtime import GPUS, build_container, container_name
from backends._hpc.settings import HpcSettings
from backends._sizes import check_sizes
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.request import CONTROL_FOLDER
from pman_core.settings import Settings as CommonSettings


@dataclass(frozen=True, slots=True)
class Watch:
    """How closely a launcher watches its job."""

    heartbeat_s: float = 10.0
    grace_s: int = 10


WATCH = Watch()


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a job's data are, as the nodes see them."""

    store_base: Path
    incoming: Path
    """Relative to the store base, like :attr:`outgoing`."""
    outgoing: Path


def files_of(
    spec: JobSpec, own: HpcSettings, common: CommonSettings, folders: Folders, watch: Watch = WATCH
) -> dict[str, bytes]:
    """Return the files of a job by their names.

    Raises:
        Rejected: an argument or a variable is too long for any exec, or cannot be handed over.
    """
    image = spec.request.image.removeprefix("docker://")
    if image.startswith("-"):
        raise Rejected(f"image: {image!r} would be an option of {own.hpc_runtime}")
    base = folders.store_base
    container = build_container(own, common, spec, base / folders.incoming, base / folders.outgoing)
    check_sizes(container.argv, dict(entry.split("=", 1) for entry in container.env))
    cache = own.hpc_image_cache or base / CONTROL_FOLDER / "images"
    has_cache = own.hpc_runtime in {"apptainer", "singularity"}
    launch = {
        "path": own.hpc_path,
        "store": str(base),
        "incoming": str(folders.incoming),
        "outgoing": str(folders.outgoing),
        "program": own.hpc_runtime,
        "image": "" if own.hpc_runtime == "none" else image,
        "cache": str(cache) if has_cache else "",
        "images": _images(own, spec.request.image),
        "source": f"docker://{image}",
        "archive": "docker-archive",
        "name": cache_name(spec.request.image),
        "policy": own.image_pull_policy,
        "pull_timeout_s": str(math.ceil(own.image_pull_timeout_s)),
        "pull_flags": container.pull_flags,
        "scratch": str(own.hpc_scratch),
        "scratch_flag": container.scratch_flag,
        "gpu_variable": f"{container.env_prefix}{GPUS}" if spec.request.gpus else "",
        "tasks": str(spec.request.number_of_workers),
        "kill": container_name(spec) if own.hpc_runtime == "podman" else "",
        "start_failures": container.start_failures,
        "start_mark": container.start_mark,
        "heartbeat_s": f"{watch.heartbeat_s:g}",
        "grace_s": str(watch.grace_s),
    }
    return {
        "launch": joined(f"{name}={value}" for name, value in launch.items()),
        "runtime": joined(container.runtime),
        "env": joined(container.env),
        "argv": joined(container.argv),
    }


def joined(items: Iterable[str]) -> bytes:
    """Return the items with NUL behind each; none of them holds one (``request.py`` sees to it)."""
    return "".join(f"{item}\0" for item in items).encode()


def cache_name(image: str) -> str:
    """Return what an image is called in the cache: readable, and unique by the hash of its whole name."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", image)[:80].strip(".-")
    return f"{readable}-{hashlib.sha256(image.encode()).hexdigest()[:12]}"


def _images(own: HpcSettings, image: str) -> str:
    """Return the site's folder of images; none for a name that would lead out of it."""
    is_inside = not image.startswith("/") and ".." not in image.split("/")
    return str(own.hpc_images) if own.hpc_images is not None and is_inside else ""

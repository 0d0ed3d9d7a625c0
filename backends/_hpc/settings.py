"""The settings of the backends of HPC clusters: how the nodes run containers, and where they find what they need."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Runtime = Literal["apptainer", "singularity", "podman", "none"]


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("must be an absolute path")
    return value


def _words(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


Folder = Annotated[Path, AfterValidator(_absolute)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


class HpcSettings(BaseSettings):
    """Settings of ``slurm`` and ``cromwell``. All paths are as the nodes see them."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    hpc_runtime: Runtime = "apptainer"
    hpc_runtime_options: Words = ()
    hpc_any_image: bool = False
    hpc_path: str = "/usr/local/bin:/usr/bin:/bin"
    hpc_storebase: Folder | None = None
    hpc_scratch: Folder = Path("/tmp")  # noqa: S108 - a folder is made in it with mktemp
    hpc_image_cache: Folder | None = None
    hpc_images: Folder | None = None
    image_pull_policy: Literal["always", "missing", "never"] = "missing"
    image_pull_timeout_s: Annotated[float, Field(gt=0)] = 3600.0

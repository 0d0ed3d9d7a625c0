"""The settings of the engine backends, and how they say where the engine is."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pman_core.settings import Settings as CommonSettings

DOCKER_SOCKET = Path("/var/run/docker.sock")
TLS_FILES = ("ca.pem", "cert.pem", "key.pem")


class EngineSettings(BaseSettings):
    """Settings of ``docker``, ``podman`` and ``swarm``."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    engine_timeout_s: Annotated[float, Field(gt=0, le=10)] = 10.0
    memory_limit_soft: bool = False
    pids_limit: Annotated[int, Field(ge=1)] | None = 4096
    drop_capabilities: bool = False
    gpus: Literal["auto", "yes", "no"] = "auto"


class ContainerSettings(EngineSettings):
    """What only the backends have that start containers themselves."""

    image_pull_policy: Literal["always", "missing", "never"] = "missing"
    image_pull_timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    gpu_cdi_kind: str = "nvidia.com/gpu"


def tls_folder(common: CommonSettings, home: Path) -> Path | None:
    """Return where the certificates for a TCP engine are, by the rules of the docker command; ``None`` without TLS.

    https://docs.docker.com/engine/security/protect-access/
    """
    if not common.docker_tls_verify:
        return None
    return common.docker_cert_path or home / ".docker"


def podman_sockets(environment: Mapping[str, str], uid: int) -> tuple[Path, ...]:
    """Return where Podman's service listens by default: of root, then of this user.

    https://docs.podman.io/en/latest/markdown/podman-system-service.1.html
    """
    run = Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
    rootful, rootless = Path("/run/podman/podman.sock"), run / "podman/podman.sock"
    return (rootful, rootless) if uid == 0 else (rootless, rootful)


def first_socket(candidates: tuple[Path, ...]) -> str:
    """Return the URL of the first socket that is there, else of the first."""
    found = next((path for path in candidates if os.access(path, os.F_OK)), candidates[0])
    return f"unix://{found}"

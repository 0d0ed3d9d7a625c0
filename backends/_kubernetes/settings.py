"""The settings of the backend ``kubernetes``."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pman_core.request import LIMIT_MAX

WORKERS_MOST = 10_000
"""Kubernetes itself takes 100,000; the names of pods must stay short enough for the number behind them."""


class KubernetesSettings(BaseSettings):
    """The settings of this backend alone. Empty variables count as not set."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    kubeconfig: str = ""
    """Path of the kubeconfig, or several with colons; empty: the pod's own service account, else ``~/.kube/config``."""
    kube_context: str = ""
    """A context of the kubeconfig; empty: its current one."""
    kube_timeout_s: Annotated[float, Field(gt=0, le=10)] = 10.0
    """For every call of the API server."""
    kube_start_grace_s: Annotated[float, Field(ge=0)] = 60.0
    """So long an image that cannot be pulled, a volume that cannot be mounted, a sidecar that crashes ... may last."""
    kube_end_grace_s: Annotated[int, Field(ge=1)] = 1
    """So long a job that is ended may go on after SIGTERM; 0 would only hide it, while it goes on."""
    node_lost_grace_s: Annotated[float, Field(ge=0)] = 60.0
    """So long a pod that its node should have ended may go on before the node is lost."""
    kube_ttl_hours: Annotated[float, Field(gt=0, le=LIMIT_MAX / 3600)] | None = None
    """An ended Job is deleted by Kubernetes itself after that; unset: by pman alone."""
    kube_request_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Which part of its limits is set aside for a job: below 1, nodes are overcommitted."""
    kube_gpu_resource: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] = "nvidia.com/gpu"
    kube_workers_max: Annotated[int, Field(ge=1, le=WORKERS_MOST)] = 100
    kube_pod_overlay: Path | None = None
    """A YAML or JSON file, merged into the pod template of every job: see :mod:`backends._kubernetes.overlay`."""
    image_pull_policy: Literal["always", "missing", "never"] = "missing"
    gpus: Literal["auto", "yes", "no"] = "auto"
    """``auto``: whether a node has ``kube_gpu_resource``; where nodes may not be listed, yes."""

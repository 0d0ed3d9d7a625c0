"""The settings: environment variables, read once into a frozen object; every fault is named at once.

A setting's name in the code is its environment variable in lower case. Names that the old pman knew keep their
meaning; new ones carry their unit. ``README.md`` lists them all and a test compares the two.
"""

import difflib
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pman_core import registry
from pman_core.errors import Fault, InvalidSettings

REDIS_SCHEMES = ("redis", "rediss", "sentinel")


@dataclass(frozen=True, slots=True)
class UserRange:
    """The users a container may run as: ``UID:GID``, each a number or a range ``LOW-HIGH``."""

    uid_low: int
    uid_high: int
    gid_low: int
    gid_high: int


def _user_range(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+)(?:-(\d+))?:(\d+)(?:-(\d+))?", value)
    if not match:
        raise ValueError("must be UID:GID, each a number or a range such as 1000-2000")
    uid_low, uid_high, gid_low, gid_high = match.groups()
    users = UserRange(int(uid_low), int(uid_high or uid_low), int(gid_low), int(gid_high or gid_low))
    if users.uid_low > users.uid_high or users.gid_low > users.gid_high:
        raise ValueError("a range must not end before it begins")
    return users


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    entries = [entry.strip() for entry in value.split(",") if entry.strip()]
    if any("=" not in entry or entry.startswith("=") for entry in entries):
        raise ValueError("must be key=value pairs with commas between them")
    return tuple((key.strip(), text.strip()) for key, _, text in (entry.partition("=") for entry in entries))


def _names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _container_env(value: str) -> str:
    known = registry.names()
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f", did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"{value!r} is no backend{hint} Known: {', '.join(known)}")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    scheme = urlsplit(value.get_secret_value()).scheme
    if "cluster" in scheme:
        raise ValueError("Redis Cluster is not supported: use a single Redis or Valkey, or Sentinel")
    if scheme not in REDIS_SCHEMES:
        raise ValueError("must begin with " + ", ".join(f"{name}://" for name in REDIS_SCHEMES))
    return value


Pairs = Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_pairs)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Users = Annotated[UserRange, NoDecode, BeforeValidator(_user_range)]
Model = TypeVar("Model", bound=BaseModel)
PositiveSeconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """All settings that are not one backend's own. Secrets show in no repr."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, validate_default=True)

    # Who we are
    application_mode: Literal["production", "development"] = "production"
    secret_key: SecretStr = SecretStr("")
    pman_instance: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")] = "pman"
    pman_hostname: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")] = Field(default_factory=socket.gethostname)
    container_env: Annotated[str, AfterValidator(_container_env)] = "process"

    # Redis
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] = SecretStr("redis://127.0.0.1:6379/0")
    redis_sentinel_master: str = "mymaster"
    redis_timeout_s: PositiveSeconds = 1.0

    # Where the data is
    storage_type: Literal["host", "nfs", "docker_local_volume", "kubernetes_pvc"] = "host"
    storebase: Path | None = None
    nfs_server: str = ""
    volume_name: str = ""
    pfcon_selector: str = "org.chrisproject.role=pfcon"

    # How jobs run
    container_user: Users | None = None
    securitycontext_run_as_user: int | None = None
    securitycontext_run_as_group: int | None = None
    enable_home_workaround: bool = False
    shm_size: Annotated[int, Field(ge=1)] | None = None  # MiB, as in the old pman
    job_labels: Pairs = ()
    job_logs_tail: Annotated[int, Field(ge=1, le=100_000)] = 1000  # lines
    ignore_limits: bool = False
    remove_jobs: bool = True
    timelimit_minutes: Annotated[int, Field(ge=1)] | None = None
    timelimit_max_minutes: Annotated[int, Field(ge=1)] | None = None
    job_namespace: str = "default"
    node_selector: Pairs = ()
    image_pull_secrets: Names = ()
    cromwell_url: SecretStr = SecretStr("")  # the password of a proxy may be in it
    docker_host: str = ""
    docker_tls_verify: bool = False
    docker_cert_path: Path | None = None

    # How pman works
    live_logs_s: Annotated[float, Field(ge=0)] = 15.0
    retention_hours: PositiveSeconds = 168.0
    max_body_kib: Annotated[int, Field(ge=1)] = 1024
    submit_lease_s: PositiveSeconds = 60.0
    submit_fence_s: PositiveSeconds = 300.0
    submit_attempts_max: Annotated[int, Field(ge=1)] = 5
    requeue_s: PositiveSeconds = 10.0
    lost_grace_s: PositiveSeconds = 30.0
    observer_lease_s: PositiveSeconds = 6.0
    reconcile_s: PositiveSeconds = 10.0
    heartbeat_file: Path | None = None

    # Each looks at fields declared before it; a faulty one is not there and has its own fault.

    @field_validator("storebase")
    @classmethod
    def _check_storebase(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("storage_type") in {"host", "nfs"} and (value is None or not value.is_absolute()):
            raise ValueError("must be an absolute path when STORAGE_TYPE is host or nfs")
        return value

    @field_validator("nfs_server")
    @classmethod
    def _check_nfs_server(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("storage_type") == "nfs" and not value:
            raise ValueError("is required when STORAGE_TYPE is nfs")
        return value

    @field_validator("submit_fence_s")
    @classmethod
    def _check_fence(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("submit_lease_s", 0):
            raise ValueError("must not be shorter than SUBMIT_LEASE_S")
        return value

    @field_validator("timelimit_max_minutes")
    @classmethod
    def _check_timelimit(cls, value: int | None, info: ValidationInfo) -> int | None:
        default = info.data.get("timelimit_minutes")
        if value is not None and default is not None and value < default:
            raise ValueError("must not be less than TIMELIMIT_MINUTES")
        return value

    @property
    def time_limit_max_minutes(self) -> int | None:
        """The most that a job may ask for: without a maximum of its own, the default is one."""
        return self.timelimit_minutes if self.timelimit_max_minutes is None else self.timelimit_max_minutes

    def time_limit_s(self, asked_minutes: int | None) -> float | None:
        """Return the time limit of a job that asks for ``asked_minutes``, or for none; ``None``: it has no limit."""
        if asked_minutes is None:
            return None if self.timelimit_minutes is None else self.timelimit_minutes * 60.0
        most = self.time_limit_max_minutes
        return 60.0 * (asked_minutes if most is None else min(asked_minutes, most))


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; ``overrides`` (lower-case names) come first.

    Raises:
        InvalidSettings: with every fault at once.
    """
    return load(Settings, overrides)


def load(model: type[Model], overrides: dict[str, Any] | None = None) -> Model:
    """Read one settings class, the common one or a backend's own; see :func:`load_settings`."""
    try:
        return model(**(overrides or {}))
    except ValidationError as error:
        raise InvalidSettings([_to_fault(dict(item)) for item in error.errors(include_url=False)]) from None


def _to_fault(item: dict[str, Any]) -> Fault:
    return Fault(str(item["loc"][0]).upper(), str(item["msg"]).removeprefix("Value error, "))

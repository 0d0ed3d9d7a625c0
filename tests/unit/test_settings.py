"""The settings: every fault at once, no secret shown, nothing changed after the start, every old name still known."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pman_core import registry
from pman_core.errors import InvalidSettings
from pman_core.settings import Settings, UserRange, load_settings

OLD_NAMES = [
    "SECRET_KEY", "PMAN_INSTANCE", "CONTAINER_ENV", "STORAGE_TYPE", "STOREBASE", "NFS_SERVER", "VOLUME_NAME",
    "PFCON_SELECTOR", "CONTAINER_USER", "SECURITYCONTEXT_RUN_AS_USER", "SECURITYCONTEXT_RUN_AS_GROUP",
    "ENABLE_HOME_WORKAROUND", "SHM_SIZE", "JOB_LABELS", "JOB_LOGS_TAIL", "IGNORE_LIMITS", "REMOVE_JOBS",
    "JOB_NAMESPACE", "NODE_SELECTOR", "IMAGE_PULL_SECRETS", "CROMWELL_URL", "TIMELIMIT_MINUTES", "DOCKER_HOST",
    "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "APPLICATION_MODE",
]  # fmt: skip


@pytest.fixture(autouse=True)
def env(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Only what a test says, over the least that is needed."""
    for name in Settings.model_fields:
        for spelled in {name, name.upper()} & os.environ.keys():
            monkeypatch.delenv(spelled)
    monkeypatch.setattr(registry, "names", lambda: ("docker", "mock", "process"))
    monkeypatch.setenv("STOREBASE", "/store")
    return monkeypatch


def faults() -> dict[str, str]:
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    return {fault.field: fault.message for fault in refused.value.faults}


def test_the_defaults_need_a_store_base_only() -> None:
    settings = load_settings()
    assert settings.storebase == Path("/store")
    assert settings.container_env == "process"
    assert settings.application_mode == "production"
    assert settings.remove_jobs
    assert settings.time_limit_s(None) is None


@pytest.mark.parametrize("name", OLD_NAMES)
def test_every_name_of_the_old_pman_is_known(name: str) -> None:
    assert name.lower() in Settings.model_fields


def test_every_fault_is_named_at_once(env: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CONTAINER_ENV": "proces", "REDIS_URL": "http://x", "CONTAINER_USER": "root", "JOB_LABELS": "a",
        "SHM_SIZE": "0", "PMAN_INSTANCE": "No_Good", "JOB_LOGS_TAIL": "-1", "REMOVE_JOBS": "perhaps",
        "SUBMIT_LEASE_S": "0", "STORAGE_TYPE": "nfs", "STOREBASE": "relative",
    }.items():  # fmt: skip
        env.setenv(name, value)
    found = faults()
    assert set(found) == {
        "CONTAINER_ENV", "REDIS_URL", "CONTAINER_USER", "JOB_LABELS", "SHM_SIZE", "PMAN_INSTANCE", "JOB_LOGS_TAIL",
        "REMOVE_JOBS", "SUBMIT_LEASE_S", "STOREBASE", "NFS_SERVER",
    }  # fmt: skip
    assert "did you mean 'process'?" in found["CONTAINER_ENV"]


def test_a_backend_that_is_nothing_like_ours_gets_the_list(env: pytest.MonkeyPatch) -> None:
    env.setenv("CONTAINER_ENV", "xyz")
    assert "did you mean" not in faults()["CONTAINER_ENV"]
    assert "docker, mock, process" in faults()["CONTAINER_ENV"]


@pytest.mark.parametrize("url", ["redis+cluster://h", "rediss+cluster://h", "cluster://h"])
def test_a_cluster_is_refused_with_a_clear_text(env: pytest.MonkeyPatch, url: str) -> None:
    env.setenv("REDIS_URL", url)
    assert "Redis Cluster is not supported" in faults()["REDIS_URL"]


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "sentinel://a;sentinel://b"])
def test_servers_and_sentinels_are_accepted(env: pytest.MonkeyPatch, url: str) -> None:
    env.setenv("REDIS_URL", url)
    assert load_settings().redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"STOREBASE": ""}, "STOREBASE"),
        ({"STOREBASE": "relative"}, "STOREBASE"),
        ({"STORAGE_TYPE": "nfs"}, "NFS_SERVER"),
        ({"SUBMIT_LEASE_S": "60", "SUBMIT_FENCE_S": "59"}, "SUBMIT_FENCE_S"),
    ],
)
def test_settings_that_need_each_other_are_checked_together(
    env: pytest.MonkeyPatch, given: dict[str, str], field: str
) -> None:
    for name, value in given.items():
        env.setenv(name, value)
    assert set(faults()) == {field}


def test_a_volume_needs_no_store_base(env: pytest.MonkeyPatch) -> None:
    env.delenv("STOREBASE")
    env.setenv("STORAGE_TYPE", "docker_local_volume")
    assert load_settings().storebase is None


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields if name != "storebase"])
def test_an_empty_variable_is_an_unset_one(env: pytest.MonkeyPatch, name: str) -> None:
    unset = load_settings()
    env.setenv(name, "")
    assert load_settings() == unset


def test_secrets_are_shown_nowhere(env: pytest.MonkeyPatch) -> None:
    env.setenv("SECRET_KEY", "s3cr3t")
    env.setenv("REDIS_URL", "redis://:s3cr3t@h:6379/0")
    env.setenv("CROMWELL_URL", "https://pman:s3cr3t@h")
    settings = load_settings()
    shown = [repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()]
    assert not any("s3cr3t" in text for text in shown)
    env.setenv("REDIS_URL", "gopher://:s3cr3t@h")
    env.setenv("SHM_SIZE", "x")
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    assert "s3cr3t" not in str(refused.value)
    assert "s3cr3t" not in repr(refused.value)
    assert refused.value.__suppress_context__


def test_settings_are_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.container_env = "docker"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.new = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("1000:1000", UserRange(1000, 1000, 1000, 1000)),
        ("1000-2000:3000", UserRange(1000, 2000, 3000, 3000)),
        ("0:0-9", UserRange(0, 0, 0, 9)),
    ],
)
def test_users_are_numbers_or_ranges(env: pytest.MonkeyPatch, text: str, users: UserRange) -> None:
    env.setenv("CONTAINER_USER", text)
    assert load_settings().container_user == users


@pytest.mark.parametrize("text", ["1000", "a:b", "2-1:0", "0:9-8", "1000:", "-1:0", "1:1:1"])
def test_other_users_are_refused(env: pytest.MonkeyPatch, text: str) -> None:
    env.setenv("CONTAINER_USER", text)
    assert set(faults()) == {"CONTAINER_USER"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("JOB_LABELS", "a=1, b = 2 ,c=", (("a", "1"), ("b", "2"), ("c", ""))),
        ("NODE_SELECTOR", "disk=ssd=fast", (("disk", "ssd=fast"),)),
        ("IMAGE_PULL_SECRETS", "one, two,", ("one", "two")),
        ("REMOVE_JOBS", "no", False),
        ("IGNORE_LIMITS", "yes", True),
        ("TIMELIMIT_MINUTES", "5", 5),
        ("LIVE_LOGS_S", "0", 0.0),
    ],
)
def test_values_are_read_from_their_text(env: pytest.MonkeyPatch, name: str, text: str, value: Any) -> None:
    env.setenv(name, text)
    assert getattr(load_settings(), name.lower()) == value


def test_overrides_come_before_the_environment(env: pytest.MonkeyPatch) -> None:
    env.setenv("CONTAINER_ENV", "docker")
    assert load_settings(container_env="mock").container_env == "mock"


def test_the_time_limit_is_told_in_seconds(env: pytest.MonkeyPatch) -> None:
    env.setenv("TIMELIMIT_MINUTES", "3")
    assert load_settings().time_limit_s(None) == 180.0


@pytest.mark.parametrize(
    ("default", "most", "asked", "seconds"),
    [
        ("", "", None, None),
        ("", "", 5, 300.0),
        ("3", "", None, 180.0),
        ("3", "", 2, 120.0),
        ("3", "", 5, 180.0),
        ("3", "10", None, 180.0),
        ("3", "10", 5, 300.0),
        ("3", "10", 50, 600.0),
        ("", "10", None, None),
    ],
)
def test_the_time_limit_of_a_job_is_its_own_up_to_the_most(
    monkeypatch: pytest.MonkeyPatch, default: str, most: str, asked: int | None, seconds: float | None
) -> None:
    for name, value in {"TIMELIMIT_MINUTES": default, "TIMELIMIT_MAX_MINUTES": most, "STOREBASE": "/store"}.items():
        monkeypatch.setenv(name, value)
    assert load_settings().time_limit_s(asked) == seconds


def test_the_most_time_is_not_less_than_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TIMELIMIT_MINUTES": "30", "TIMELIMIT_MAX_MINUTES": "10", "STOREBASE": "/store"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match="TIMELIMIT_MAX_MINUTES: must not be less"):
        load_settings()

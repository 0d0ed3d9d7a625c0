"""What ``pman doctor`` makes of what it measures; each thing that is wrong comes with its repair."""

from pathlib import Path

import pytest

from pman_client import doctor
from pman_client.doctor import (
    Finding,
    Verdict,
    ask_storage,
    examine,
    judge_obligations,
    judge_queues,
    judge_redis,
    judge_report,
    judge_storebase,
    judge_sweep,
)
from pman_core.settings import Settings, load_settings
from pman_core.store.protocol import BackendReport, Obligation
from testbed.ports import free_port

GOOD_REDIS = {
    "redis_version": "7.4.0",
    "redis_mode": "standalone",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
}


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    assert all(finding.repair for finding in findings if finding.verdict is not Verdict.OK)
    return {finding.subject: finding for finding in findings}


@pytest.mark.parametrize(
    "info", [GOOD_REDIS, GOOD_REDIS | {"redis_version": "6.2.0"}, GOOD_REDIS | {"valkey_version": "9.1.2"}]
)
def test_a_good_redis_is_ok(info: dict[str, str]) -> None:
    assert {finding.verdict for finding in judge_redis(info)} == {Verdict.OK}


@pytest.mark.parametrize(
    ("info", "subject", "verdict"),
    [
        ({"redis_version": "6.0.16"}, "redis", Verdict.FAIL),
        ({"redis_version": "garbage"}, "redis", Verdict.FAIL),
        ({"redis_mode": "cluster"}, "redis", Verdict.FAIL),
        ({"cluster_enabled": "1"}, "redis", Verdict.FAIL),
        ({"maxmemory_policy": "allkeys-lru"}, "redis memory", Verdict.FAIL),
        ({"aof_enabled": "0"}, "redis durability", Verdict.WARN),
    ],
)
def test_each_fault_of_a_redis_is_found(info: dict[str, str], subject: str, verdict: Verdict) -> None:
    assert by_subject(list(judge_redis(GOOD_REDIS | info)))[subject].verdict is verdict


def test_a_redis_that_tells_nothing_is_not_trusted() -> None:
    assert by_subject(list(judge_redis({})))["redis memory"].verdict is Verdict.FAIL


def test_a_queue_without_a_worker_fails_and_tells_what_waits() -> None:
    found = by_subject(list(judge_queues({"a": 0, "b": 7}, ["a", "other"])))
    assert found["queue a"].verdict is Verdict.OK
    assert found["queue b"].verdict is Verdict.FAIL
    assert "7 task(s)" in found["queue b"].text


def test_a_worker_for_images_is_missed_when_an_image_is_asked_for() -> None:
    assert by_subject(list(judge_queues({"pman.docker.pull": 0}, [])))["queue pman.docker.pull"].verdict is Verdict.OK
    found = by_subject(list(judge_queues({"pman.docker.pull": 3}, [])))["queue pman.docker.pull"]
    assert found.verdict is Verdict.FAIL
    assert "3 task(s)" in found.text


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (None, Verdict.FAIL),
        (BackendReport("mock", reported_at_ms=100_000), Verdict.OK),
        (BackendReport("mock", reported_at_ms=10_000), Verdict.FAIL),
        (BackendReport("mock", ok=False, message="ill", reported_at_ms=100_000), Verdict.WARN),
    ],
)
def test_the_observer_is_judged_by_its_last_report(report: BackendReport | None, verdict: Verdict) -> None:
    assert by_subject([judge_report(report, now_ms=105_000)])["observer"].verdict is verdict


def test_a_store_before_its_first_sweep_is_a_warning() -> None:
    assert judge_sweep(is_done=True).verdict is Verdict.OK
    assert by_subject([judge_sweep(is_done=False)])["first sweep"].verdict is Verdict.WARN


def test_overdue_deletes_are_named() -> None:
    assert judge_obligations([]).verdict is Verdict.OK
    found = judge_obligations([Obligation(f"j{number}", "g") for number in range(9)])
    assert found.verdict is Verdict.WARN
    assert "j0, j1" in found.text
    assert "..." in found.text


def test_the_store_base_must_be_a_writable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge_storebase(tmp_path).verdict is Verdict.OK
    assert by_subject([judge_storebase(tmp_path / "none")])["storage"].verdict is Verdict.FAIL

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pman_client.doctor.TemporaryFile", refuse)  # root may write anywhere
    assert "Permission denied" in by_subject([judge_storebase(tmp_path)])["storage"].text


@pytest.mark.parametrize(("storage", "verdict"), [("nfs", Verdict.OK), ("host", Verdict.FAIL)])
def test_a_store_that_the_scheduler_mounts_need_not_be_here(storage: str, verdict: Verdict, tmp_path: Path) -> None:
    names = {"container_env": "mock", "nfs_server": "nfs.example.org", "storebase": tmp_path / "none"}
    assert ask_storage(load_settings(storage_type=storage, **names)).verdict is verdict


def test_nodes_of_kubernetes_may_have_a_store_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pman_core.registry.names", lambda: ["kubernetes"])
    absent = ask_storage(load_settings(container_env="kubernetes", storebase=tmp_path / "none"))
    assert (absent.verdict, "not from here" in absent.text) == (Verdict.OK, True)
    assert "is writable" in ask_storage(load_settings(container_env="kubernetes", storebase=tmp_path)).text


def test_wrong_settings_are_all_named_and_nothing_else_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINER_ENV", "mock")
    monkeypatch.setenv("STOREBASE", "/tmp")
    monkeypatch.setenv("JOB_LOGS_TAIL", "-1")
    monkeypatch.setenv("RETENTION_HOURS", "soon")
    findings = list(examine())
    assert {finding.subject for finding in findings} == {"settings"}
    assert {finding.text.split(":")[0] for finding in findings} == {"JOB_LOGS_TAIL", "RETENTION_HOURS"}


def test_without_redis_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unused_port: int
) -> None:
    monkeypatch.setenv("CONTAINER_ENV", "mock")
    monkeypatch.setenv("MOCK_DIR", str(tmp_path))
    monkeypatch.setenv("STOREBASE", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{unused_port}/0")
    found = by_subject(list(examine()))
    assert {name: finding.verdict.value for name, finding in found.items()} == {
        "settings": "ok",
        "storage": "ok",
        "backend": "ok",
        "redis": "fail",
    }


def test_a_backend_that_lacks_its_settings_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unused_port: int
) -> None:
    monkeypatch.setenv("CONTAINER_ENV", "mock")
    monkeypatch.delenv("MOCK_DIR", raising=False)
    monkeypatch.setenv("STOREBASE", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{unused_port}/0")
    assert by_subject(list(examine()))["backend"].verdict is Verdict.FAIL


@pytest.fixture
def unused_port() -> int:
    return free_port()


class BusyWorkers:
    """Celery, Redis and workers that answer when they are given the time; without a pull worker."""

    def __init__(self, need_s: float) -> None:
        self.control, self._need_s, self.asked_s = self, need_s, list[float]()

    def inspect(self, timeout: float) -> "BusyWorkers":
        self.asked_s.append(timeout)
        return self

    def active_queues(self) -> dict[str, list[dict[str, str]]] | None:
        names = ("submit", "control", "refresh")
        return (
            {"worker": [{"name": f"pman.mock.{name}"} for name in names]} if self.asked_s[-1] > self._need_s else None
        )

    def llen(self, _: str) -> int:
        return 0

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("need_s", "asked_s", "verdict"), [(0.5, [1], Verdict.OK), (2, [1, 5], Verdict.OK), (9, [1, 5], Verdict.FAIL)]
)
def test_workers_that_are_busy_are_given_the_time_to_answer(
    monkeypatch: pytest.MonkeyPatch, need_s: float, asked_s: list[float], verdict: Verdict
) -> None:
    workers = BusyWorkers(need_s)
    monkeypatch.setattr(doctor, "make_celery", lambda _: workers)
    monkeypatch.setattr(doctor, "make_client", lambda _: (workers, None))
    settings = Settings(container_env="mock", storebase=Path("/data"), redis_url="redis://r")
    found = by_subject(list(doctor.ask_queues(settings)))
    assert found["queue pman.mock.submit"].verdict is verdict
    assert found["queue pman.mock.pull"].verdict is Verdict.OK
    assert workers.asked_s == asked_s

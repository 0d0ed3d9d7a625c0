"""What an engine can suffer while jobs run on it, and that every job's state is still true."""

import signal
import time
from collections.abc import Callable
from statistics import median

import pytest
import requests

from testbed.engine_proxy import EngineProxy
from testbed.private_engine import PrivateEngine
from testbed.system import System, wait_for
from tests.engines.jobs import (
    PATIENCE_S,
    REPLY_S,
    connect,
    containers,
    delete,
    get,
    go,
    post,
    running,
    traced,
    traces,
    wait_end,
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
Start = Callable[..., System]
HANG_S, ENGINE_TIMEOUT_S = 30.0, 10.0


@pytest.mark.parametrize("live_restore", [False, True])
def test_ten_jobs_under_an_engine_that_is_killed(
    start: Start, private_engine: Callable[..., PrivateEngine], live_restore: bool
) -> None:
    engine = private_engine(*(["--live-restore"] if live_restore else []))
    system = start(engine.url)
    jids = [f"job-{number}" for number in range(10)]
    running(system, *jids, code=3)
    engine.signal(signal.SIGKILL)
    assert all(get(system, jid)["status"] == "started" for jid in jids), "an engine that is away says nothing"
    engine.start()
    if live_restore:
        go(system, *jids)
    records = [wait_end(system, jid) for jid in jids]
    assert {record["status"] for record in records} == {"finishedWithError"}
    # Without live-restore the engine, when it is back, kills what it finds running.
    assert {record["exit_code"] for record in records} == {3 if live_restore else 137}, records
    assert {record["reason"] for record in records} == {"NONZERO_EXIT" if live_restore else "SIGNALLED"}
    assert all(record["message"] for record in records)
    assert [traces(system, jid) for jid in jids] == [1] * 10, "nothing ran twice"
    post(system, traced("after"))
    assert wait_end(system, "after")["status"] == "finishedSuccessfully"


def test_an_engine_that_hangs_for_half_a_minute(start: Start, private_engine: Callable[..., PrivateEngine]) -> None:
    engine = private_engine()
    system = start(engine.url, LOST_GRACE_S="2", ENGINE_TIMEOUT_S=f"{ENGINE_TIMEOUT_S:g}")
    running(system, "long", "short")
    engine.signal(signal.SIGSTOP)
    go(system, "short")
    hung_s = time.monotonic()
    post(system, traced("during"))
    waited_s: list[float] = []
    while time.monotonic() - hung_s < HANG_S:
        asked_s = time.monotonic()
        assert get(system, "long")["status"] == "started"
        assert get(system, "short")["status"] == "started"
        assert get(system, "during")["status"] == "notstarted"
        waited_s.append(time.monotonic() - asked_s)
        time.sleep(0.05)  # a client that polls
    engine.signal(signal.SIGCONT)
    # Who asked the engine would wait for it each time; once in a while it is this machine that is waited for.
    assert median(waited_s) < ENGINE_TIMEOUT_S, "the API has nothing to do with the engine"
    assert wait_end(system, "short")["status"] == "finishedSuccessfully"
    assert wait_end(system, "during")["status"] == "finishedSuccessfully"
    assert get(system, "long")["status"] == "started"
    go(system, "long")
    assert wait_end(system, "long")["status"] == "finishedSuccessfully"
    assert [traces(system, jid) for jid in ("long", "short", "during")] == [1, 1, 1]


def test_every_connection_cut_again_and_again(
    start: Start, docker_url: str, proxied: Callable[[str], EngineProxy]
) -> None:
    proxy = proxied(docker_url)
    system = start(proxy.url)
    wait_for("the stream is open", lambda: proxy.calls()["GET /events"], PATIENCE_S)
    jids = [f"job-{number}" for number in range(8)]
    for number, jid in enumerate(jids):
        post(system, traced(jid, f"sleep 0.{number}", number % 3))
        proxy.cut()
    for number, jid in enumerate(jids):
        record = wait_end(system, jid)
        assert record["exit_code"] == number % 3, record
        proxy.cut()
    assert [traces(system, jid) for jid in jids] == [1] * 8
    wait_for("the stream is resumed", lambda: proxy.calls()["GET /events"] > 1, PATIENCE_S)
    for jid in jids:
        delete(system, jid)
        proxy.cut()
    wait_for("nothing is left behind", lambda: not containers(docker_url, system), PATIENCE_S)


def test_a_socket_that_hangs_is_not_an_answer(
    start: Start, docker_url: str, proxied: Callable[[str], EngineProxy]
) -> None:
    proxy = proxied(docker_url)
    system = start(proxy.url, ENGINE_TIMEOUT_S="2", LOST_GRACE_S="1")
    running(system, "job")
    proxy.hold()
    silent_s = time.monotonic()

    def is_told() -> bool:
        backend = requests.get(f"{system.url}/api/v1/", timeout=REPLY_S).json()["backend"]
        return not backend["ok"]

    wait_for("the API tells that the engine does not answer", is_told, PATIENCE_S)
    assert get(system, "job")["status"] == "started"
    wait_for("long enough for several listings", lambda: time.monotonic() - silent_s > 10, PATIENCE_S)
    assert get(system, "job")["status"] == "started"
    proxy.release()
    go(system, "job")
    assert wait_end(system, "job")["status"] == "finishedSuccessfully"
    delete(system, "job")
    wait_for("nothing is left behind", lambda: not containers(docker_url, system), PATIENCE_S)


def test_a_container_that_is_removed_by_hand(start: Start, docker_url: str) -> None:
    system = start(docker_url)
    running(system, "job")
    client = connect(docker_url)
    client.remove_container(containers(docker_url, system)[0]["Id"], force=True)
    client.close()
    record = wait_end(system, "job")
    # Whoever heard the last event knows the exit code; else the engine denies the job for a while, and it is lost.
    if record["status"] == "undefined":
        assert record["reason"] == "VANISHED"
    else:
        assert (record["status"], record["exit_code"]) == ("finishedWithError", 137)
        assert "removed from the engine" in record["message"]
    assert traces(system, "job") == 1


def test_a_container_that_is_removed_while_nobody_looks_is_lost(start: Start, docker_url: str) -> None:
    system = start(docker_url)
    running(system, "job")
    system.kill("observer")
    client = connect(docker_url)
    client.remove_container(containers(docker_url, system)[0]["Id"], force=True)
    client.close()
    assert get(system, "job")["status"] == "started"
    system.restart("observer")
    record = wait_end(system, "job")
    assert (record["status"], record["reason"]) == ("undefined", "VANISHED")


def test_a_container_that_is_paused_runs_and_says_so(start: Start, docker_url: str) -> None:
    system = start(docker_url)
    running(system, "job")
    client = connect(docker_url)
    container = containers(docker_url, system)[0]["Id"]
    client.pause(container)
    wait_for("the record says paused", lambda: get(system, "job")["message"] == "paused", PATIENCE_S)
    assert get(system, "job")["status"] == "started"
    client.unpause(container)
    wait_for("the record says no more", lambda: get(system, "job")["message"] == "", PATIENCE_S)
    client.pause(container)
    client.close()
    delete(system, "job")
    wait_for("a paused one can be ended, too", lambda: not containers(docker_url, system), PATIENCE_S)


def test_a_folder_that_is_missing_is_named(start: Start, docker_url: str) -> None:
    system = start(docker_url)
    request = traced("job", type="ds") | {"input_dir": "not/there"}
    (system.store_base / "job" / "out").mkdir(parents=True)
    reply = requests.post(f"{system.url}/api/v1/", json=request, timeout=REPLY_S)
    assert reply.status_code == 201
    record = wait_end(system, "job")
    assert (record["status"], record["reason"]) == ("finishedWithError", "REJECTED")
    assert "input_dir: there is no folder 'not'" in record["message"]

"""Flower in a real browser: what a person sees of 20 jobs, and that nobody sees or does what is not for him.

``FLOWER_SCREENSHOTS=docs/images`` keeps what was seen.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from testbed.system import System, wait_for
from tests.e2e.jobs import post, wait_end

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(400)]

AUTH = ("pman", "a-password")
JOBS = [f"cube-jid-{number:02}" for number in range(20)]
FLAGS = (
    "--headless",
    "--no-sandbox",  # as root, in CI, Chromium starts no other way
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1000",
)


@pytest.fixture
def flower(start: Callable[..., System]) -> tuple[System, str]:
    """Return a whole pman on the mock scheduler, and the address of its Flower."""
    system = start(backend="mock")
    system.start_redis()
    system.start_api()
    system.start_worker()
    system.start_control_worker()
    system.start_observer()
    system.wait_ready()
    url = system.start_flower(":".join(AUTH))
    # It hears of tasks from now on only, so it must have heard of something before the first one; and it asks workers
    # for the rest, which have a second to answer.
    for what in ("status", "refresh"):
        wait_for(f"Flower knows both workers: {what}", lambda what=what: len(api_workers(url, what)) == 2)  # type: ignore[misc]
    return system, url


def api_workers(url: str, what: str) -> dict[str, object]:
    """Return what Flower knows of workers: their ``status``, by events, or what they tell if asked (``refresh``)."""
    try:
        reply = requests.get(f"{url}/api/workers", auth=AUTH, params={what: "1"}, timeout=30)
    except requests.RequestException:
        return {}
    workers: dict[str, object] = reply.json() if reply.ok else {}
    return workers


@pytest.fixture
def browser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[webdriver.Chrome]:
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if None in paths:
        if "browser" in request.config.getoption("--require"):
            pytest.fail("no Chromium: apt install chromium chromium-driver")
        pytest.skip("no Chromium: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(paths[0])
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    # With the path of the driver Selenium does not look for one to download.
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(paths[1])))
    try:
        yield driver
    finally:
        driver.quit()


def keep(browser: webdriver.Chrome, name: str) -> None:
    if folder := os.environ.get("FLOWER_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder, f"{name}.png")))


def table(browser: webdriver.Chrome, name: str) -> list[list[str]]:
    """Return the text of a table's body, read in one go: Flower redraws it while we look."""
    rows: list[list[str]] = browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
        ".map(row => [...row.cells].map(cell => cell.textContent.trim()))",
        name,
    )
    return rows


def test_a_person_sees_the_workers_and_every_job_by_name(flower: tuple[System, str], browser: webdriver.Chrome) -> None:
    system, url = flower
    for jid in JOBS:
        post(system, jid)
    for jid in JOBS:
        assert wait_end(system, jid)["status"] == "finishedSuccessfully"

    # The password goes in as a person's does: with the address.
    browser.get(url.replace("://", "://{}:{}@".format(*AUTH)) + "/tasks?limit=50")
    browser.get(f"{url}/tasks")
    wait_for("the tasks' table", lambda: table(browser, "tasks-table"))
    Select(browser.find_element(By.CSS_SELECTOR, "select[name=tasks-table_length], .dt-length select")).select_by_value(
        "50"
    )

    def submits() -> dict[str, list[str]] | None:
        rows = [row for row in table(browser, "tasks-table") if row[0] == "pman.submit mock"]
        seen = {row[1].split()[0]: row for row in rows if len(row) > 2}
        return seen if set(seen) == set(JOBS) and all(row[2] == "SUCCESS" for row in rows) else None

    rows = wait_for("20 submits, each with its jid", submits)
    assert {row[5] for row in rows.values()} == {"worker@host-a"}
    keep(browser, "flower-tasks")

    browser.get(f"{url}/workers")

    def workers() -> dict[str, list[str]] | None:
        """Who has not been heard for four seconds is Offline until the next sign of life."""
        seen = {row[0]: row for row in table(browser, "workers-table")}
        online = {name for name, row in seen.items() if row[1] == "Online"}
        return seen if {"worker@host-a", "control@host-a"} <= online else None

    wait_for("both workers are online", workers)
    keep(browser, "flower-workers")


def test_without_the_password_nothing_is_shown(flower: tuple[System, str], browser: webdriver.Chrome) -> None:
    _, url = flower
    for auth in (None, ("pman", "wrong"), ("", "")):
        for path in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"):
            reply = requests.get(url + path, auth=auth, timeout=30)
            assert (reply.status_code, "worker@" in reply.text) == (401, False), path
    browser.get(f"{url}/workers")
    assert "worker@" not in browser.page_source


def test_with_the_password_nobody_can_act(flower: tuple[System, str], browser: webdriver.Chrome) -> None:
    system, url = flower
    actions = (
        "/api/worker/shutdown/worker@host-a",
        "/api/worker/pool/shrink/worker@host-a?n=8",
        "/api/worker/queue/cancel-consumer/worker@host-a?queue=pman.mock.submit",
        "/api/task/apply/pman.submit",
        "/api/task/async-apply/pman.submit",
        "/api/task/send-task/pman.submit",
        "/api/task/revoke/an-id?terminate=true",
    )
    for action in actions:
        reply = requests.post(url + action, auth=AUTH, json={"args": ["a-jid", "01h"]}, timeout=30)
        assert reply.status_code == 403, action
        assert "Read only mode" in reply.text, action
    browser.get(url.replace("://", "://{}:{}@".format(*AUTH)) + "/worker/worker@host-a")

    def is_shown() -> bool:
        browser.get(f"{url}/worker/worker@host-a")
        return [head.text for head in browser.find_elements(By.ID, "workername")] == ["worker@host-a"]

    wait_for("the worker's page", is_shown)
    assert "shut down" not in browser.page_source.lower(), "not even a button"
    post(system, "after-all")
    assert wait_end(system, "after-all")["status"] == "finishedSuccessfully"


def test_flower_makes_a_password_if_none_is_set(flower: tuple[System, str]) -> None:
    system, _ = flower
    system.kill("flower")
    url = system.start_flower()
    wait_for("Flower answers", lambda: answers(url))
    assert requests.get(f"{url}/workers", timeout=30).status_code == 401
    password = system.output("flower").rsplit("it is pman:", 1)[1].split()[0]
    assert requests.get(f"{url}/workers", auth=("pman", password), timeout=30).status_code == 200


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthcheck", timeout=10).ok
    except requests.RequestException:
        return False

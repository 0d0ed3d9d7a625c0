"""``pman up``: all of pman in one terminal, with a Redis of its own where none is given. For one machine and one user.

On servers each process has its own unit or container, see ``Procfile`` and ``deploy/``.
"""

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from pman_client import embedded, processes
from pman_client.client import DEFAULT_URL, PmanClient
from pman_client.state_folder import Note, StateFolder
from pman_client.supervisor import Child, Ending, Supervisor
from pman_core import registry
from pman_core.errors import StoreUnavailable
from pman_core.settings import Settings, load_settings

START_TIMEOUT_S = 120.0
READY_POLL_S = 0.05
ADDRESS = "127.0.0.1"
"""There is no authentication: nobody but the users of this machine shall reach it."""
SAMPLE_INPUT = "incoming"
"""A folder to put data into, made in a store base of our own."""
WITHOUT_IMAGES = {"process", "mock"}
"""Backends that take any word for an image."""
COLOURS = {
    "redis": "red",
    "api": "cyan",
    "worker": "green",
    "control": "magenta",
    "pull": "blue",
    "observer": "yellow",
    "": "bold",
}


class NotStarted(Exception):
    """pman cannot be brought up; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run."""

    settings: Settings
    children: tuple[Child, ...]
    added_env: Mapping[str, str]


def up(state: StateFolder, port: int, any_image: bool, console: Console) -> Ending:
    """Run pman until it is stopped. Returns when everything has ended.

    Raises:
        AlreadyUp: another one uses this folder.
        InvalidSettings, NoEmbeddedRedis, NotStarted: it cannot start.
    """
    with state.held(), _listen(port) as listener:
        plan = make_plan(state, os.environ, any_image, listener)
        client = PmanClient(f"http://{ADDRESS}:{listener.getsockname()[1]}", timeout_s=2.0, retries=0)
        supervisor = Supervisor(plan.children, lambda name, line: _print_line(console, name, line))

        async def announce() -> None:
            await _until_ready(client)
            state.write_note(Note(os.getpid(), client.base_url, plan.added_env))
            console.print(ready_panel(plan, client.base_url))

        async def tell_what_goes_on() -> None:
            if running := await asyncio.to_thread(_count_running, plan.settings):
                _print_line(console, "", f"{running} job(s) still run: they go on, and the next `pman up` finds them")

        ending = asyncio.run(supervisor.run(announce, tell_what_goes_on))
        _print_line(console, "", "stopped")
        return ending


def make_plan(state: StateFolder, environ: Mapping[str, str], any_image: bool, listener: socket.socket) -> Plan:
    """Fill in what ``environ`` leaves open, check all settings, and write down which processes will run."""
    redis = None if environ.get("REDIS_URL") else embedded.prepare(state.redis)
    defaults = {
        "CONTAINER_ENV": "process",
        "STOREBASE": str(state.store),
        "LIVE_LOGS_S": "1",
        **({"REDIS_URL": redis.url} if redis else {}),
    }
    added = {name: value for name, value in defaults.items() if not environ.get(name)}
    if any_image:
        added["PROCESS_ANY_IMAGE"] = "yes"
    settings = load_settings(**{name.lower(): value for name, value in added.items()})
    if "STOREBASE" not in added and settings.storebase is not None:
        from pman_client.doctor import Verdict, judge_storebase  # noqa: PLC0415 - it imports Celery and Redis

        finding = judge_storebase(settings.storebase)
        if finding.verdict is Verdict.FAIL:
            raise NotStarted(f"{finding.text}: {finding.repair}")
    if "STOREBASE" in added:
        (state.store / SAMPLE_INPUT).mkdir(parents=True, exist_ok=True)
    # One API process has threads enough for one user, and starts sooner than two.
    env = {"WEB_CONCURRENCY": "1", **environ, **added, "PYTHONUNBUFFERED": "1"}
    children = [
        Child("api", processes.api(f"fd://{listener.fileno()}"), env, pass_fds=(listener.fileno(),)),
        Child("worker", processes.worker(), env),
        Child("control", processes.control_worker(settings.container_env, settings.pman_hostname), env),
        Child("observer", processes.observer(), env),
    ]
    if registry.pulls_images(settings.container_env):
        children.append(Child("pull", processes.pull_worker(settings.container_env), env))
    if redis:
        children.insert(0, redis.as_child(env))
    return Plan(settings, tuple(children), added)


def _listen(port: int) -> socket.socket:
    """Return the API's socket. It is ours, so that a port in use shows at once and early clients wait, not fail."""
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise NotStarted(f"port {port} cannot be used ({error.strerror}): choose another --port, 0 = any") from None


async def _until_ready(client: PmanClient) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not await asyncio.to_thread(client.ready):
        if time.monotonic() >= until:
            raise NotStarted(f"the API is not ready after {START_TIMEOUT_S:.0f} s; its log is above")
        await asyncio.sleep(READY_POLL_S)


def _count_running(settings: Settings) -> int:
    from pman_core.store.redis import RedisStore  # noqa: PLC0415 - not needed before the end

    try:
        return RedisStore.connect(settings).counts(settings.container_env)["running"]
    except StoreUnavailable:
        return 0


def _print_line(console: Console, name: str, line: str) -> None:
    prefix = Text(f"{name or 'pman':>8} │ ", style=COLOURS.get(name, ""))
    console.print(prefix + Text.from_ansi(line), soft_wrap=True)


def ready_panel(plan: Plan, url: str) -> Panel:
    base = plan.settings.storebase
    redis = "embedded, gone with this command; its data stays" if "REDIS_URL" in plan.added_env else "from REDIS_URL"
    image = "local" if plan.settings.container_env in WITHOUT_IMAGES else "busybox"
    run = f"pman run {image} -- sh -c 'date > $0/date.txt'"
    export = "" if url == DEFAULT_URL else f"export PMAN_URL={url}\n         "
    lines = Text.assemble(
        ("url      ", "dim"), f"{url}/api/v1/\n",
        ("backend  ", "dim"), f"{plan.settings.container_env}\n",
        ("data     ", "dim"), f"{base}\n",
        ("redis    ", "dim"), f"{redis}\n",
        ("\ntry      ", "dim"), f"{export}{run}",
        ("\nstop     ", "dim"), "Ctrl-C",
    )  # fmt: skip
    if plan.settings.container_env == "process" and plan.added_env.get("PROCESS_ANY_IMAGE") != "yes":
        lines.append("\n\nJobs are plain commands of this host, and images are refused: ", "yellow")
        lines.append("--any-image accepts and ignores them", "yellow")
    return Panel(lines, title="pman is ready", border_style="green", expand=False)

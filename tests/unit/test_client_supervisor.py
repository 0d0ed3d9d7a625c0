"""The supervisor of ``pman up`` with tiny children: it starts, merges, and leaves nothing behind, however it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from pman_client.supervisor import Child, Ending, Supervisor

WAIT = "import signal; signal.pause()"
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('deaf', flush=True)
while True: signal.pause()
"""
POLITE = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye')))
print('up', flush=True)
signal.pause()
"""
Step = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Do nothing."""


def child(name: str, code: str, **options: object) -> Child:
    return Child(name, (sys.executable, "-S", "-E", "-c", code), dict(os.environ), **options)  # type: ignore[arg-type]


class Lines:
    """What was said, and a way to wait for a line."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []
        self._more = asyncio.Event()

    def say(self, name: str, line: str) -> None:
        self.all.append((name, line))
        self._more.set()

    async def until(self, *wanted: tuple[str, str]) -> None:
        while not set(wanted) <= set(self.all):
            self._more.clear()
            await self._more.wait()


def run(
    children: list[Child], step: Callable[[Lines], Step], *, grace_s: float = 10, before_stop: Step = nothing
) -> tuple[Ending, list[tuple[str, str]]]:
    lines = Lines()
    supervisor = Supervisor(children, lines.say, grace_s=grace_s)
    ending = asyncio.run(supervisor.run(step(lines), before_stop))
    return ending, lines.all


def stop_after(*wanted: tuple[str, str]) -> Callable[[Lines], Step]:
    """Ask for the end, as Ctrl-C does, when these lines were said."""

    def step(lines: Lines) -> Step:
        async def ask() -> None:
            await lines.until(*wanted)
            os.kill(os.getpid(), signal.SIGINT)

        return ask

    return step


def test_lines_of_all_children_come_with_their_names() -> None:
    a = child("a", f"print('one', flush=True); {WAIT}")
    b = child("b", f"import sys; print('two', file=sys.stderr, flush=True); {WAIT}")
    ending, lines = run([a, b], stop_after(("a", "one"), ("b", "two")))
    assert ending is Ending.ASKED
    assert ("a", "one") in lines


def test_a_child_that_dies_ends_all_and_is_named() -> None:
    dies = child("dies", "import sys; print('no newline', end='', flush=True); sys.exit(3)")
    ending, lines = run([child("lives", WAIT), dies], lambda _: nothing)
    assert ending is Ending.CHILD_DIED
    assert ("", "dies has ended by itself (exit code 3): stopping the others") in lines
    assert ("dies", "no newline") in lines


def test_a_child_killed_by_a_signal_is_told_so() -> None:
    dies = child("dies", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    _, lines = run([dies], lambda _: nothing)
    assert ("", "dies has ended by itself (SIGKILL): stopping the others") in lines


def test_the_foundation_is_stopped_after_the_others() -> None:
    base = child("base", POLITE, is_foundation=True)
    _, lines = run([base, child("house", POLITE)], stop_after(("base", "up"), ("house", "up")))
    assert lines.index(("house", "bye")) < lines.index(("base", "bye"))


def test_a_deaf_child_is_killed_after_its_grace() -> None:
    ending, lines = run([child("stone", STUBBORN)], stop_after(("stone", "deaf")), grace_s=0.05)
    assert ending is Ending.ASKED
    assert ("", "stone does not end: killed") in lines


def test_a_second_ctrl_c_does_not_wait_for_the_grace() -> None:
    async def hurry() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)

    began = time.monotonic()
    run([child("stone", STUBBORN)], stop_after(("stone", "deaf")), grace_s=60, before_stop=hurry)
    assert time.monotonic() - began < 60


def test_what_a_child_has_started_ends_with_it() -> None:
    code = f"""
        import subprocess, sys
        kid = subprocess.Popen([sys.executable, "-S", "-c", "{WAIT}"])
        print(kid.pid, flush=True)
        {WAIT}
    """
    pids: list[int] = []

    def step(lines: Lines) -> Step:
        async def ask() -> None:
            while not lines.all:
                await asyncio.sleep(0.01)
            pids.append(int(lines.all[0][1]))
            os.kill(os.getpid(), signal.SIGTERM)

        return ask

    run([child("parent", textwrap.dedent(code))], step)
    assert is_gone(pids[0])


def test_a_failed_start_ends_all_and_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("not ready")

    with pytest.raises(ValueError, match="not ready"):
        run([child("a", WAIT)], lambda _: fail)


def test_a_program_that_is_not_there_ends_what_was_started() -> None:
    with pytest.raises(FileNotFoundError):
        run([child("a", WAIT), Child("b", ("/no/such/program",), {})], lambda _: nothing)


def test_stdin_and_folder_are_given(tmp_path: Path) -> None:
    code = f"import sys, os; print(sys.stdin.read(), os.getcwd(), flush=True); {WAIT}"
    expected = ("a", f"secret {tmp_path}")
    ending, _ = run([child("a", code, stdin=b"secret", cwd=tmp_path)], stop_after(expected))
    assert ending is Ending.ASKED


def test_a_line_longer_than_the_buffer_is_no_harm() -> None:
    code = f"print('x' * 200_000, flush=True); print('end', flush=True); {WAIT}"
    _, lines = run([child("a", code)], stop_after(("a", "end")))
    assert sum(len(line) for _, line in lines if line != "end") == 200_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent has died")
def test_children_end_when_the_supervisor_is_killed() -> None:
    code = f"""
        import asyncio, os, sys
        from pman_client.supervisor import Child, Supervisor
        async def nothing(): pass
        program = "import os; print(os.getpid(), flush=True); {WAIT}"
        kid = Child("kid", (sys.executable, "-S", "-c", program), os.environ)
        asyncio.run(Supervisor([kid], lambda _, line: print(line, flush=True)).run(nothing, nothing))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    assert is_gone(pid)


def is_gone(pid: int) -> bool:
    """Wait until the process has ended; whether it was reaped is up to others."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False

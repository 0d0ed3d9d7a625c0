"""Runs a handful of processes as one: starts them together, merges their output, stops them together.

It knows nothing of pman. Each child leads a session of its own, so that Ctrl-C reaches only us and we decide the
order of the end; and each ends when we die, even by SIGKILL, as far as the system can do that (Linux).
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 64 * 1024
PUMP_GRACE_S = 1.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Child:
    """One process to run."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    pass_fds: Sequence[int] = ()
    stdin: bytes = b""
    is_foundation: bool = False
    """The others need it to end cleanly: it is stopped after them."""


class Ending(Enum):
    """Why a run is over."""

    ASKED = "asked"
    CHILD_DIED = "child died"


class Supervisor:
    """One run of ``children``; ``say(name, line)`` gets every line that they print, ``say("", line)`` our own."""

    def __init__(self, children: Sequence[Child], say: Callable[[str, str], None], *, grace_s: float = 10.0) -> None:
        self._children = children
        self._say = say
        self._grace_s = grace_s
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(
        self,
        once_started: Callable[[], Awaitable[None]],
        before_stop: Callable[[], Awaitable[None]],
    ) -> Ending:
        """Start all, run ``once_started`` beside them, and return when they have ended, each and every one.

        They end together: on SIGINT or SIGTERM, when one of them ends by itself, or when ``once_started`` fails,
        whose exception is then raised. A second signal kills at once.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        pumps: list[asyncio.Task[None]] = []
        try:
            for child in self._children:
                pumps.append(await self._start(child))  # noqa: PERF401 - what has started must be known at any time
            return await self._until_over(once_started)
        finally:
            await before_stop()
            await self._end([child for child in self._children if not child.is_foundation])
            await self._end([child for child in self._children if child.is_foundation])
            if pumps:  # what a child of a child still holds open is not waited for
                _, open_ = await asyncio.wait(pumps, timeout=PUMP_GRACE_S)
                for pump in open_:
                    pump.cancel()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _start(self, child: Child) -> asyncio.Task[None]:
        # A pipe of our own: with asyncio's, a process counts as ended only when its children have closed it, too.
        read_end, write_end = os.pipe()
        output = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            process = self._processes[child.name] = await asyncio.create_subprocess_exec(
                *child.argv,
                env=child.env,
                cwd=child.cwd,
                pass_fds=child.pass_fds,
                stdin=asyncio.subprocess.PIPE if child.stdin else asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        finally:
            os.close(write_end)
        if process.stdin:
            process.stdin.write(child.stdin)
            process.stdin.close()
        return asyncio.create_task(self._pump(child.name, output))

    async def _pump(self, name: str, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readuntil()
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    self._say(name, end.partial.decode(errors="replace"))
                return
            except asyncio.LimitOverrunError as overrun:
                line = await output.readexactly(overrun.consumed)
            self._say(name, line.decode(errors="replace").rstrip("\r\n"))

    async def _until_over(self, once_started: Callable[[], Awaitable[None]]) -> Ending:
        starting = asyncio.ensure_future(once_started())
        asked = asyncio.create_task(self._stop.wait())
        exits = {asyncio.create_task(process.wait()): name for name, process in self._processes.items()}
        try:
            await asyncio.wait({starting, asked, *exits}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()  # raises what it raised
                await asyncio.wait({asked, *exits}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (starting, asked, *exits):
                task.cancel()
            await asyncio.gather(starting, asked, *exits, return_exceptions=True)
        if self._stop.is_set():
            return Ending.ASKED
        for name, process in self._processes.items():
            if process.returncode is not None:
                self._say("", f"{name} has ended by itself ({_how(process.returncode)}): stopping the others")
        return Ending.CHILD_DIED

    async def _end(self, children: Sequence[Child]) -> None:
        """TERM to each, and KILL to what is left of its group when it has ended or its grace is over."""
        processes = {child.name: self._processes[child.name] for child in children if child.name in self._processes}
        for process in processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        waits = {asyncio.create_task(process.wait()) for process in processes.values()}
        hurry = asyncio.create_task(self._hurry.wait())
        over = asyncio.gather(*waits)
        either: set[asyncio.Future[Any]] = {over, hurry}
        await asyncio.wait(either, timeout=self._grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        for name, process in processes.items():
            if process.returncode is None:
                self._say("", f"{name} does not end: killed")
            with suppress(ProcessLookupError, PermissionError):  # PermissionError: an empty group, on macOS
                os.killpg(process.pid, signal.SIGKILL)
        await over


def _end_with_parent() -> None:
    """Ask the kernel to send SIGTERM to this process when its parent dies. Runs between fork and exec."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _how(returncode: int) -> str:
    return f"exit code {returncode}" if returncode >= 0 else signal.Signals(-returncode).name

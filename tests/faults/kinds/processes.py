"""Processes of pman that are killed, stopped, or ended and started as in an upgrade."""

import os
import signal
import time
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random

import psutil

from tests.faults.evidence import Effect
from tests.faults.kinds.base import NOBODY, Fault
from tests.faults.plan import Choice
from tests.faults.stage import OBSERVERS, WORKERS, Stage

ROLES = {"worker": WORKERS, "control": ("control",), "observer": OBSERVERS, "api": ("api",)}
SUBMIT_S = 0.2
"""About so long it takes from the 201 until a worker has handed the job over."""
SILENT = frozenset({Effect.NO_ANSWER})


class _OfRole(Fault):
    what: str

    def __init__(self, role: str, lasts_s: tuple[float, float] = (0.5, 6.0)) -> None:
        self.name = f"{role}-{self.what}"
        self.targets = ROLES[role]
        self.lasts_s = lasts_s
        self.effects = SILENT if role == "api" else frozenset()


class Kill(_OfRole):
    """``kill -9``, and started again after a while."""

    what = "kill"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.note_death(target)
        stage.system.kill(target)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        stage.system.restart(target)
        if target == "api":
            stage.wait_api()


class Stop(_OfRole):
    """SIGSTOP and SIGCONT: it sleeps, and does not know it."""

    what = "stop"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.system.signal(target, signal.SIGSTOP)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        stage.system.signal(target, signal.SIGCONT)


class Oversleep(Stop):
    """Asleep for longer than a submit lease and not as long as the fence behind it."""

    what = "oversleep"

    def choices(self, lease_s: float) -> list[Choice]:
        return [replace(choice, lasts_s=(lease_s + 1, lease_s + 5)) for choice in super().choices(lease_s)]


class _AllInSubmit(Fault):
    """All workers at once, just after a job was accepted: one of them is somewhere in its submit."""

    targets = ("workers",)

    def occupies(self, target: str) -> frozenset[str]:
        return frozenset(WORKERS)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.wait_accepted()
        time.sleep(rng.uniform(0, SUBMIT_S))
        for name in WORKERS:
            self.hit(stage, name)
        return NOBODY

    @abstractmethod
    def hit(self, stage: Stage, name: str) -> None: ...


class KillAllInSubmit(_AllInSubmit):
    name = "submit-kill"

    def hit(self, stage: Stage, name: str) -> None:
        stage.note_death(name)
        stage.system.kill(name)

    def end(self, stage: Stage, target: str) -> None:
        for name in WORKERS:
            stage.system.restart(name)


class OversleepInSubmit(_AllInSubmit):
    """They wake all together, when the lease is over: one goes on with its submit, the others have it to do."""

    name = "submit-oversleep"

    def hit(self, stage: Stage, name: str) -> None:
        stage.system.signal(name, signal.SIGSTOP)

    def end(self, stage: Stage, target: str) -> None:
        for name in WORKERS:
            stage.system.signal(name, signal.SIGCONT)

    def choices(self, lease_s: float) -> list[Choice]:
        return [replace(choice, lasts_s=(lease_s + 1, lease_s + 5)) for choice in super().choices(lease_s)]


class Restart(_OfRole):
    """A graceful restart; nothing is cut off."""

    what = "restart"

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        stage.restart_gracefully(target)
        return NOBODY


class Reload(Fault):
    """SIGHUP to gunicorn: new processes before the old ones end."""

    name = "api-reload"
    targets = ("api",)
    lasts_s = (2.0, 2.0)
    effects = SILENT
    """A connection that was kept alive is closed; a request that was just sent on it gets no answer."""

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        # Until gunicorn has put its handler in place, this signal would end it.
        stage.wait_api()
        os.kill(stage.system.processes["api"].pid, signal.SIGHUP)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        stage.wait_api()  # the old ones have left off by now, and how long the new ones take, the machine decides


class OneOfGunicorn(Fault):
    """One process of several that serve the API."""

    targets = ("api",)
    effects = SILENT

    def __init__(self, what: str, number: signal.Signals) -> None:
        self.name = f"gunicorn-{what}"
        self._number = number

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        if workers := stage.gunicorn_workers():
            with suppress(psutil.NoSuchProcess):  # it was one that a reload has replaced
                rng.choice(workers).send_signal(self._number)
        return NOBODY

    def end(self, stage: Stage, target: str) -> None:
        for worker in stage.gunicorn_workers():
            with suppress(psutil.NoSuchProcess):  # likewise
                if worker.status() == psutil.STATUS_STOPPED:
                    worker.resume()


class RollingRestart(Fault):
    """Everything is ended and started, one after the other, in any order: an upgrade by day."""

    name = "rolling-restart"
    targets = ("everything",)
    lasts_s = (0.0, 0.0)

    def occupies(self, target: str) -> frozenset[str]:
        return frozenset(name for names in ROLES.values() for name in names)

    def begin(self, stage: Stage, target: str, rng: Random) -> frozenset[str]:
        names = stage.names
        rng.shuffle(names)
        for name in names:
            stage.restart_gracefully(name)
            time.sleep(rng.uniform(0, 1))
        return NOBODY


PROCESSES: Sequence[Fault] = (
    *(Kill(role) for role in ROLES),
    *(Stop(role, (1.0, 9.0)) for role in ("worker", "observer", "api")),
    Oversleep("worker"),
    KillAllInSubmit(),
    OversleepInSubmit(),
    *(Restart(role, (0.0, 0.0)) for role in ROLES),
    Reload(),
    OneOfGunicorn("kill", signal.SIGKILL),
    OneOfGunicorn("stop", signal.SIGSTOP),
    RollingRestart(),
)

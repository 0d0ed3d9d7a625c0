"""A night under fire: ``python -m tests.faults.chaos --backend process --jobs 1000 --faults 60 --seed 7``.

Exit code 1 if the audit finds anything. The folder with all logs and evidence is kept then, and its path is printed.
"""

import argparse
import pickle
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from rich.console import Console
from rich.status import Status

from testbed.remains import keep, make_folder
from tests.faults.audit import Finding, audit
from tests.faults.clients import Client, Clients
from tests.faults.evidence import Evidence
from tests.faults.injector import Injector
from tests.faults.kinds import WIPE, of_backend
from tests.faults.plan import make_plan
from tests.faults.report import Night, show
from tests.faults.stage import Stage
from tests.faults.timeline import timeline
from tests.faults.worlds import WORLDS

RATES = {"process": 4.0, "mock": 4.0, "docker": 2.0, "kubernetes": 1.0, "cromwell": 2.0}
QUIET_TIMEOUT_S = 240.0
TELL_EVERY_S = 10.0
STORIES_MAX = 5


@dataclass(frozen=True, slots=True)
class Order:
    """What a night is to be."""

    backend: str
    jobs: int
    faults: int
    rate: float
    seed: str
    wipes: int = 0
    """So many of the faults wipe Redis."""
    only: Sequence[str] = ()
    """Kinds of faults; empty: all that the backend can suffer."""


def run(order: Order, folder: Path, console: Console) -> tuple[Night, list[Finding]]:
    """Live through one night and judge it."""
    stage = Stage(folder, order.backend)
    try:
        with console.status("starting") as status:
            stage.start()
            night = _live(order, stage, status)
    finally:
        stage.close()
    findings = audit(night.evidence)
    (folder / "evidence.pickle").write_bytes(pickle.dumps(night.evidence))
    return night, findings


def _live(order: Order, stage: Stage, status: Status) -> Night:
    kinds = of_backend(order.backend)
    usual = [kind for name, kind in kinds.items() if kind is not WIPE and (not order.only or name in order.only)]
    choices = [choice for kind in usual for choice in kind.choices(stage.lease_s)]
    wipes = WIPE.choices(stage.lease_s) * order.wipes
    plan = make_plan(order.seed, choices, order.faults, order.jobs / order.rate, wipes)
    client = Client(stage.system.url, stage.world.request)
    stage.known_generations = client.known_generations
    stage.accepted = lambda: client.accepted
    clients = Clients(client, order.seed, order.jobs, order.rate, stage.world.make_folders, wiped=bool(wipes))
    injector = Injector(stage, kinds, plan, order.seed)
    began_s = told_s = time.monotonic()

    def tell(waits_for: str = "") -> None:
        nonlocal told_s
        if not status.console.is_terminal:
            if time.monotonic() - told_s < TELL_EVERY_S:
                return
            told_s = time.monotonic()
        under_way = ", ".join(f"{fault.kind} {fault.target}" for fault in list(injector.under_way.values()))
        text = (
            f"{time.monotonic() - began_s:4.0f} s  {order.jobs - clients.living}/{order.jobs} jobs lived, "
            f"{len(client.calls)} calls, {len(injector.injected)}/{order.faults} faults  {under_way or waits_for[:100]}"
        )
        status.update(text)
        if not status.console.is_terminal:
            status.console.print(text, highlight=False)

    try:
        clients.start()
        injector.start()
        _wait(lambda: injector.is_done, plan[-1].at_s + 120 if plan else 0, tell)
        late = [f"not over in time: {fault}" for fault in list(injector.under_way.values())]
        healed_s = time.monotonic()
        _wait(lambda: clients.living == 0, QUIET_TIMEOUT_S, tell)
        late += [f"{clients.living} lives were cut short"] if clients.living else []
    finally:  # before the stage is closed: whoever restarts a process then leaves it behind
        clients.give_up()
        injector.stop()
    left = _wait_empty(stage.left_in_store, QUIET_TIMEOUT_S, tell)
    quiet_after_s = time.monotonic() - healed_s

    for name in stage.names:
        stage.note_death(name)
    jids = sorted({body.jid for body in clients.bodies})
    final = {jid: client.get(jid) for jid in jids}
    natives = stage.world.natives()
    for jid in jids:
        client.delete(jid)
    after = _wait_empty(lambda: [*stage.left_in_store(), *map(str, stage.world.natives())], QUIET_TIMEOUT_S, tell)
    keys = _wait_empty(stage.keys_left, QUIET_TIMEOUT_S, tell)
    bodies = list(clients.bodies)
    evidence = Evidence(
        bodies=bodies,
        calls=list(client.calls),
        traces=stage.world.traces(bodies),
        faults=sorted(injector.injected, key=lambda fault: fault.began_s),
        silences=list(stage.api_restarts),
        quiet=not left,
        final=final,
        natives=natives,
        left_in_store=[*left, *(f"after everything was deleted: {one}" for one in after)],
        natives_at_end=stage.world.natives(),
        processes_at_end=stage.world.processes(),
        keys_at_end=keys,
        deaths=list(stage.deaths),
    )
    broken = [*clients.failures, *injector.failures, *late]
    if len(evidence.faults) != order.faults:
        broken.append(f"{len(evidence.faults)} faults were, not {order.faults}")
    return Night(evidence, dict(clients.kinds), time.monotonic() - began_s, quiet_after_s, broken)


def _wait(is_over: Callable[[], bool], timeout_s: float, tell: Callable[..., None]) -> None:
    end_s = time.monotonic() + timeout_s
    while not is_over() and time.monotonic() < end_s:
        tell()
        time.sleep(0.2)


def _wait_empty(ask: Callable[[], list[str]], timeout_s: float, tell: Callable[..., None]) -> list[str]:
    """Wait until ``ask`` has nothing to say, twice in a row; return what it says in the end."""
    end_s, answers = time.monotonic() + timeout_s, 0
    while True:
        left = ask()
        answers = 0 if left else answers + 1
        if answers == 2 or time.monotonic() > end_s:
            return left
        tell(f"{len(left)} left: {left[:1]}")
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--backend", choices=sorted(WORLDS), default="process")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--rate", type=float, default=0.0, help="jobs per second; by default what the backend can do")
    parser.add_argument("--seed", default="", help="the same seed, the same jobs and the same plan of faults")
    parser.add_argument("--wipes", type=int, default=0, help="so many of the faults wipe Redis")
    parser.add_argument("--only", nargs="*", default=(), metavar="KIND", help="these kinds of faults and no others")
    arguments = parser.parse_args()
    seed = arguments.seed or str(SystemRandom().randrange(10**6))
    rate = arguments.rate or RATES[arguments.backend]
    order = Order(
        arguments.backend,
        arguments.jobs,
        arguments.faults,
        rate,
        seed,
        arguments.wipes,
        tuple(arguments.only),
    )
    console = Console()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(2))
    console.print(f"{order.backend}: {order.jobs} jobs, {order.faults} faults, SEED={order.seed}")
    folder = make_folder("pman-chaos-")
    folder.chmod(0o755)
    try:
        night, findings = run(order, folder / "night", console)
    except BaseException:
        keep(folder)
        console.print(f"it did not come to its end; what there is of it is in {folder}")
        raise
    show(console, night, findings)
    for jid in list(dict.fromkeys(finding.jid for finding in findings if finding.jid))[:STORIES_MAX]:
        console.rule(jid)
        for line in timeline(jid, night.evidence, folder / "night"):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if findings or night.broken:
        keep(folder)
        console.print(f"SEED={order.seed}, everything is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

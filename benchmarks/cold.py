"""From the command ``pman up`` to the first job that it has accepted: a new state folder, a Redis of its own.

One POST is sent as soon as the port is open and waits for its answer; 503 (Redis is not there yet) is sent again.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import requests

from benchmarks.figure import Figure, Goal
from benchmarks.load import BODY
from testbed.ports import free_port

RUNS = 3
RETRY_S = 0.005
GIVE_UP_S = 60.0


def measure(folder: Path, scale: float) -> list[Figure]:
    runs = max(1, round(RUNS * scale))
    before_s = _children_cpu_s()
    times_s = [_first_accepted_s(folder / str(number)) for number in range(runs)]
    cpu_s = (_children_cpu_s() - before_s) / runs
    note = f"runs: {', '.join(f'{took_s:.2f}' for took_s in times_s)}; {cpu_s:.2f} s of processor time, start to end"
    return [Figure("pman up to the first accepted job", Goal(2.0, "at most"), median(times_s), "s", note=note)]


def _children_cpu_s() -> float:
    """Return the processor time of all processes below this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _first_accepted_s(state: Path) -> float:
    port = free_port()
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    argv = [
        str(Path(sys.executable).with_name("pman")),
        "up",
        "--any-image",
        "--port",
        str(port),
        "--state",
        str(state),
    ]
    with (state.parent / f"{state.name}.log").open("wb") as log:
        began_s = time.perf_counter()
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            _post_until_accepted(port, process)
            return time.perf_counter() - began_s
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _post_until_accepted(port: int, process: "subprocess.Popen[bytes]") -> None:
    until_s = time.monotonic() + GIVE_UP_S
    body = BODY | {"jid": "first"}
    while time.monotonic() < until_s and process.poll() is None:
        try:
            reply = requests.post(f"http://127.0.0.1:{port}/api/v1/", json=body, timeout=GIVE_UP_S)
        except requests.ConnectionError:
            reply = None
        if reply is not None and reply.status_code == 201:
            return
        time.sleep(RETRY_S)
    raise RuntimeError(f"no job was accepted within {GIVE_UP_S:g} s, the last answer was {reply}")

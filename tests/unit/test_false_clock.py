"""The false clock jumps in a process that runs, and leaves alone what measures how long something takes."""

import json
import subprocess
import sys
from pathlib import Path

from testbed.false_clock import FalseClock

PROGRAM = """
import json, sys, time
def clocks():
    return time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
before = clocks()
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
print(json.dumps([after - before for after, before in zip(clocks(), before)]))
"""


def test_only_the_wall_clock_jumps(tmp_path: Path) -> None:
    clock = FalseClock(tmp_path / "clock")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=clock.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        clock.jump(-3600)
        wall_s, monotonic_s, boot_s = json.loads(process.communicate("go\n")[0])
    assert -3600 <= wall_s < -3000
    assert 0 < monotonic_s < 600
    assert 0 < boot_s < 600

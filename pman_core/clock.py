"""The clock to measure leases and starts by."""

import time


def boot_clock_s() -> float:
    """Seconds that pass while a process is stopped and while the machine sleeps, and that nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

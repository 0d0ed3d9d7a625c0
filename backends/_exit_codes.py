"""What an exit code says. Pure; for every backend whose scheduler tells 128 + N for signal N."""

import signal

from pman_core.states import Reason

KILLED, TERMINATED = 128 + signal.SIGKILL, 128 + signal.SIGTERM


def signal_of(code: int) -> int:
    """Return the signal that an exit code stands for (128 + N), or 0."""
    return code - 128 if 128 < code <= 128 + signal.NSIG - 1 else 0


def reason_of(code: int) -> Reason:
    """Return why a job with this exit code, which is not 0, has failed."""
    return Reason.SIGNALLED if signal_of(code) else Reason.NONZERO_EXIT


def describe_exit(code: int) -> str:
    """Return an exit code in words."""
    number = signal_of(code)
    if not number:
        return f"exit code {code}"
    try:
        return f"ended by signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"ended by signal {number}"

"""The worker's app with a death in it: ``kill -9`` of itself, once, at the point of a submit that KILL_AT names.

With KILL_SIGNAL=SIGSTOP it falls asleep there instead.

``before-call``, ``after-call``: around the native call. ``before-ack``: all is written, but not acknowledged to Celery.
"""

import os
import signal
from functools import wraps
from pathlib import Path
from typing import Any

from pman_worker import lifecycle
from pman_worker.app import app, ctx

__all__ = ["app"]


def _die_at(point: str) -> None:
    mark = Path(os.environ["KILL_MARK"])
    if os.environ["KILL_AT"] == point and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.Signals[os.environ.get("KILL_SIGNAL", "SIGKILL")])


native_submit = ctx.backend.submit
whole_submit = lifecycle.submit


@wraps(native_submit)
def _submit(spec: Any) -> Any:
    _die_at("before-call")
    handle = native_submit(spec)
    _die_at("after-call")
    return handle


@wraps(whole_submit)
def _whole(*args: Any) -> Any:
    moved = whole_submit(*args)
    _die_at("before-ack")
    return moved


ctx.backend.submit = _submit  # type: ignore[method-assign]
lifecycle.submit = _whole

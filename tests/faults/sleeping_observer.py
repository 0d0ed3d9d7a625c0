"""An observer that falls asleep (SIGSTOP) once, with the answer of the scheduler in its hands.

It does so once the file SLEEP_MARK is there and a listing shows a job that runs, and makes SLEEP_MARK.told when it
has told what it knew.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from backends.process import ProcessBackend
from pman_core.backend import JobRef, Observed, Sighting
from pman_core.states import State
from pman_worker import observer
from pman_worker.sightings import Sightings

MARK = Path(os.environ["SLEEP_MARK"])
native_observe = ProcessBackend.observe
native_poll = Sightings.poll


def _observe(backend: ProcessBackend, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
    answers = native_observe(backend, refs)
    runs = any(isinstance(answer, Observed) and answer.state is State.RUNNING for answer in answers.values())
    if MARK.exists() and runs:
        MARK.rename(f"{MARK}.seen")
        os.kill(os.getpid(), signal.SIGSTOP)
    return answers


def _poll(sightings: Sightings) -> None:
    native_poll(sightings)
    if Path(f"{MARK}.seen").exists():
        Path(f"{MARK}.seen").rename(f"{MARK}.told")


ProcessBackend.observe = _observe  # type: ignore[method-assign]
Sightings.poll = _poll  # type: ignore[method-assign]
observer.SWEEP_EVERY_S = 3600.0  # after the first one: a sweep would tell of the job what the listing is to tell
sys.exit(observer.main())

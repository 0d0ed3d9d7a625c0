"""The command lines of pman's processes: the one place where ``pman up`` takes them from.

The ``Procfile`` says the same to honcho, foreman and people; a test compares the two.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from pman_core.queues import Purpose, queue_name

THREADS = 8
"""Of each worker: its tasks wait for the scheduler, they do not compute."""
PULLS = 4
"""So many images at once."""
QUIET = ("--without-gossip", "--without-mingle")
"""Workers need to know nothing of each other; heartbeats stay on, Flower shows them."""


def api(bind: str) -> tuple[str, ...]:
    return (
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        str(_api_folder() / "gunicorn.conf.py"),
        "-b",
        bind,
        "pman_api.wsgi:app",
    )


def worker() -> tuple[str, ...]:
    """Return the worker that consumes every queue, deletes first."""
    return _celery("worker")


def control_worker(backend: str, host: str) -> tuple[str, ...]:
    """Return the worker that does nothing but deletes, so that these never wait for submits."""
    queues = (queue_name(backend, Purpose.CONTROL), queue_name(backend, Purpose.CONTROL, host))
    return (*_celery("control"), "-Q", ",".join(queues))


def pull_worker(backend: str) -> tuple[str, ...]:
    """Return the worker that does nothing but pull images, so that nothing else waits for these."""
    return (*_celery("pull", PULLS), "-Q", queue_name(backend, Purpose.PULL))


def observer() -> tuple[str, ...]:
    return (sys.executable, "-m", "pman_worker.observer")


def _celery(name: str, count: int = THREADS) -> tuple[str, ...]:
    threads = ("--pool", "threads", "--concurrency", str(count))
    app = (sys.executable, "-m", "celery", "-q", "-A", "pman_worker.app")
    return (*app, "worker", "-n", f"{name}@%h", *threads, "-E", *QUIET)


def _api_folder() -> Path:
    spec = find_spec("pman_api")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pman_api is not installed", name="pman_api")
    return Path(spec.submodule_search_locations[0])

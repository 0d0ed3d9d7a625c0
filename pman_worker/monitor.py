"""Flower, for ``celery -A pman_worker.monitor flower``: safe and bounded as it comes.

The app knows the queues, no scheduler and no task, so Flower needs neither an SDK nor the engine's socket. What is set
here are defaults: Flower's own variables (``FLOWER_PORT``, ...) and its command line come after them.
Options: https://flower.readthedocs.io/en/latest/config.html
"""

import os
import secrets
import sys

import flower.options as _  # type: ignore[import-untyped]  # noqa: F401 - defines the options that are set here
from tornado.options import options

from pman_core.broker import make_celery
from pman_core.errors import InvalidSettings
from pman_core.settings import load_settings

USER = "pman"


def set_defaults() -> None:
    """Close and bound Flower; without a password of the administrator's, make one and print it."""
    options.address = "127.0.0.1"
    # Flower's buttons shut workers down and run any task with any arguments; pman's API is for that.
    options.read_only = True
    # About 2 KB each; Flower forgets the oldest.
    options.max_tasks = 10_000
    options.max_workers = 500
    # Every new container is a new name.
    options.purge_offline_workers = 3600
    options.tasks_columns = "name,args,state,received,runtime,worker,uuid"
    if not os.environ.get("FLOWER_BASIC_AUTH"):
        # An empty variable would be taken for a password that nobody can give.
        os.environ.pop("FLOWER_BASIC_AUTH", None)
        password = secrets.token_urlsafe(16)
        options.basic_auth = [f"{USER}:{password}"]
        sys.stderr.write(f"FLOWER_BASIC_AUTH=user:password is not set, for this run it is {USER}:{password}\n")


try:
    app = make_celery(load_settings(), consumes=True)
except InvalidSettings as error:
    sys.stderr.write(f"Flower cannot start: {error}\n")
    sys.exit(2)
set_defaults()

# ruff: noqa: N999 - the file name that gunicorn looks for
"""How gunicorn serves the API. ``GUNICORN_CMD_ARGS`` and the command line override; WEB_CONCURRENCY is gunicorn's own.

Threads wait for Redis, so there are more of them than cores. The app is loaded in each worker, never before the fork:
a Redis connection must not be shared between processes.
"""

import os

from pman_api.startup import settings_or_exit

bind = "0.0.0.0:5010"  # the port of the old pman; inside a container this is the only useful address
worker_class = "pman_api.worker_class.BoundedThreadWorker"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 16
preload_app = False
keepalive = 75  # longer than clients pause between two polls (5 s): else both ends of a connection race for its end
timeout = 30
graceful_timeout = 10
control_socket_disable = True  # nobody asked for a socket in the home folder
accesslog = None  # clients poll: one line for each would drown the rest


def on_starting(server: object) -> None:  # noqa: ARG001 - gunicorn's signature
    """Check the settings once, before any worker is forked, so that faults are printed once."""
    settings_or_exit()

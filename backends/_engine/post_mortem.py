"""Why a container was killed, if its state does not tell: our mark in it, a second look, or the engine's events."""

import time

from backends._engine import marks
from backends._engine.client import Client, translated
from backends._engine.dialect import Dialect
from backends._engine.errors import Doing
from backends._engine.state import LOOK_AGAIN_S, Container, Verdict, is_killed, moment, observed_from
from backends._exit_codes import KILLED
from pman_core.backend import Sighting


def post_mortem(client: Client, dialect: Dialect, container: Container) -> Sighting:
    """Return the sighting of an inspected container, with what else must be asked for to tell a killed one."""
    if not is_killed(container):
        return observed_from(container)
    mark = marks.find(client, container["Id"])
    if mark is not None:
        return observed_from(container, mark)
    if container["State"]["OOMKilled"]:
        return observed_from(container)
    if dialect.tells_oom:
        # It may tell so a moment late.
        time.sleep(LOOK_AGAIN_S)
        with translated(Doing.ASK):
            container = client.inspect_container(container["Id"])
        return observed_from(container)
    may_want = container["HostConfig"]["Memory"] > 0 and container["State"]["ExitCode"] == KILLED
    return observed_from(container, Verdict(is_oom=may_want and _died_unasked(client, container)))


def _died_unasked(client: Client, container: Container) -> bool:
    """Whether the engine's own events show its death, and that nobody had told the engine to kill it."""
    started, finished = moment(container["State"]["StartedAt"]), moment(container["State"]["FinishedAt"])
    if started is None or finished is None:
        return False
    # Podman has no events at all for an end of time that is past.
    since, until = int(started.timestamp()), int(max(finished.timestamp(), time.time())) + 2
    filters = {"type": ["container"], "container": [container["Id"]]}
    with translated(Doing.ASK):
        actions = {event["Action"] for event in client.events(since, until, filters, decode=True)}
    return bool(actions & {"die", "died"}) and not actions & {"kill", "stop"}

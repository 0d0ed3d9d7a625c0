"""The log of a job of a swarm: that of its one worker, or those of all of them, one after the other.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Task/operation/TaskLogs
"""

from collections.abc import Sequence

from backends._engine.client import Client, translated
from backends._engine.errors import Doing
from backends._engine.logs import read_end
from backends._swarm.nodes import Away, Nodes, nodes_by_id
from backends._swarm.task import Task, container_of
from pman_core.errors import Unavailable
from pman_core.log_tail import tail


def logs_of(client: Client, tasks: Sequence[Task], tail_lines: int, max_bytes: int) -> str:
    """Return the end of what ``tasks``, the workers of one job, have written.

    Raises:
        Unavailable: not one of the logs can be read.
    """
    if len(tasks) == 1:
        return _log_of(client, tasks[0], tail_lines, max_bytes)
    return _sections(client, tasks, tail_lines, max_bytes)


def _log_of(client: Client, task: Task, tail_lines: int, max_bytes: int, away: Away | None = None) -> str:
    """Return the log of one replica. It has line ends as the job wrote them: no terminal is in between."""
    if not container_of(task):
        return ""
    if away is not None:  # Swarm would wait for it until the time-out
        raise Unavailable(str(away))
    end = read_end(client, f"/tasks/{task['ID']}/logs", str(tail_lines), max_bytes)
    return tail(end, tail_lines, max_bytes)


def _sections(client: Client, tasks: Sequence[Task], tail_lines: int, max_bytes: int) -> str:
    """Return the logs of all replicas, each with its share of the space; one that cannot be read says so."""
    with translated(Doing.ASK):
        nodes = Nodes(nodes_by_id(client.nodes()))
    sections, failures = [], []
    for task in tasks:
        head = f"--- worker {task['Slot']} of {len(tasks)} ---\n"
        away = nodes.away(task.get("NodeID", ""))
        try:
            text = _log_of(client, task, tail_lines, max(0, max_bytes // len(tasks) - len(head) - 1), away)
        except Unavailable as error:
            failures.append(error)
            text = f"(its log cannot be read: {error})"
        sections.append(f"{head}{text}" if text.endswith("\n") or not text else f"{head}{text}\n")
    if failures and len(failures) == len(tasks):
        raise failures[0]
    return tail("".join(sections).encode(), tail_lines, max_bytes)

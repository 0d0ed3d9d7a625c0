"""What a listing and the engine's events tell of containers, and what of it must be asked for once more, and only once.

A listing says little and events say less. So a container is inspected when it is first seen to run, if no event has
told its start, and when it has failed; a container that has ended does not change any more.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from backends._engine.errors import NotThere
from backends._engine.labels import identity_of
from backends._engine.state import (
    LOOK_AGAIN_S,
    RUNNING,
    UNSEEN_CODE,
    Container,
    observed_gone,
    observed_running,
    observed_success,
)
from pman_core.backend import Observed, Sighting, Unknown
from pman_core.errors import Unavailable
from pman_core.states import TERMINAL

log = logging.getLogger(__name__)


class Sightings:
    """The memory of one instance. Calls may come from several threads."""

    def __init__(self, inspect: Callable[[str], Container], observe: Callable[[Container], Sighting]) -> None:
        """``inspect`` asks the engine for a container, ``observe`` says what one that was inspected means."""
        self._inspect = inspect
        self._observe = observe
        self._started_at: dict[str, datetime] = {}
        self._ended: dict[str, Observed] = {}
        self._asking = threading.Lock()
        """Held while a container is inspected and remembered: listing and stream tell of the same end at once."""

    def of_listed(self, container: Container) -> Sighting:
        """Return the sighting of a listed container.

        Raises:
            Unavailable: what the listing leaves out could not be asked for.
        """
        container_id = container["Id"]
        with self._asking:
            if container_id in self._ended:
                return self._ended[container_id]
            started_at = self._started_at.get(container_id)
            if container["State"] == "running" and started_at is not None:
                identity = identity_of(container["Labels"])
                if identity is not None:
                    return observed_running(identity, container_id, started_at)
            try:
                inspected = self._inspect(container_id)
                return self._remembered(self._observe(inspected))
            except NotThere:
                return Unknown("the container went away while it was looked at")
            except Unavailable:
                raise
            except Exception as error:
                # One that cannot be read, whosever fault it is, must not hide all the others.
                log.exception("container %s cannot be read", container_id)
                return Unknown(f"{type(error).__name__}: {error}")

    def of_event(self, event: Mapping[str, Any]) -> Observed | None:
        """Return what an event tells of its container; ``None``: nothing.

        Raises:
            Unavailable: what the event leaves out could not be asked for.
        """
        action, actor = event["Action"], event["Actor"]
        at = datetime.fromtimestamp(event["timeNano"] / 1e9, UTC)
        identity = identity_of(actor["Attributes"])
        if identity is None:
            return None
        if action == "start":
            self._started_at[actor["ID"]] = at
            return observed_running(identity, actor["ID"], at)
        if action not in {"die", "died", "pause", "unpause"}:
            return None
        is_end = "die" in action
        with self._asking:
            if actor["ID"] in self._ended:
                return self._ended[actor["ID"]]
            started_at = self._started_at.get(actor["ID"])
            if is_end and actor["Attributes"].get("exitCode") == "0" and started_at is not None:
                self._ended[actor["ID"]] = observed_success(identity, actor["ID"], started_at, at)
                return self._ended[actor["ID"]]
            try:
                inspected = self._inspect_ended(actor["ID"]) if is_end else self._inspect(actor["ID"])
                sighting = self._remembered(self._observe(inspected))
            except NotThere:
                code = int(actor["Attributes"].get("exitCode", UNSEEN_CODE))
                return observed_gone(actor["Attributes"], actor["ID"], code, at) if is_end else None
            except Unavailable:
                raise
            except Exception:
                log.exception("container %s cannot be read", actor["ID"])
                return None
        return sighting if isinstance(sighting, Observed) else None

    def forget_all_but(self, ids: set[str]) -> None:
        """Forget what is not in the engine any more."""
        for memory in (self._started_at, self._ended):
            for container_id in memory.keys() - ids:
                memory.pop(container_id, None)

    def _remembered(self, sighting: Sighting) -> Sighting:
        if isinstance(sighting, Observed):
            container_id = str(sighting.handle.data["id"])
            if sighting.state in TERMINAL:
                self._ended[container_id] = sighting
            elif sighting.started_at is not None:
                self._started_at[container_id] = sighting.started_at
        return sighting

    def _inspect_ended(self, container_id: str) -> Container:
        """Return a container that has told its end; its state may follow a moment later."""
        for _ in range(10):
            container = self._inspect(container_id)
            if container["State"]["Status"] not in RUNNING:
                break
            time.sleep(LOOK_AGAIN_S)
        return container

"""A backend that runs each job as one container of an engine: all of ``docker`` and ``podman`` but their differences.

How many calls a job costs, however long it runs and however often it is polled: create, start, logs at its end,
delete, and one to inspect it if it failed. Listings and events are shared by all jobs.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from backends._engine import marks
from backends._engine.base import EngineBackend
from backends._engine.client import connect, translated
from backends._engine.container import Gpus, build_container
from backends._engine.dialect import DOCKER, PODMAN, Dialect
from backends._engine.errors import Doing, NameTaken, NotThere
from backends._engine.events import EventStream, from_cursor, to_cursor
from backends._engine.labels import Labels, identity_of, of_instance, overdue_message, spec_of
from backends._engine.logs import read_end
from backends._engine.mounts import Mount, refuse_what_podman_splits, storage_of
from backends._engine.post_mortem import post_mortem
from backends._engine.pull import pull
from backends._engine.settings import ContainerSettings
from backends._engine.sightings import Sightings
from backends._engine.state import (
    HANDLE_VERSION,
    LOOK_AGAIN_S,
    RUNNING,
    Container,
    Verdict,
    handle_of,
    may_have_begun,
    moment,
    observed_from,
)
from backends._engine.volumes import find_volume
from backends._identity import Identity
from pman_core.backend import (
    Absent,
    Capabilities,
    Handle,
    JobRef,
    Observed,
    Owned,
    Sighting,
    Unknown,
    WatchEvent,
)
from pman_core.clock import boot_clock_s
from pman_core.errors import BackendError, Conflict, ImageMissing, Rejected, Unavailable
from pman_core.job import JobSpec, native_name
from pman_core.log_tail import tail
from pman_core.settings import Settings as CommonSettings
from pman_core.states import Reason, State

log = logging.getLogger(__name__)
PULL_SILENCE_S = 300.0


class ContainerBackend(EngineBackend):
    """See the text of the module. Subclasses say where the engine is."""

    own: ContainerSettings

    def __init__(self, common: CommonSettings, own: ContainerSettings) -> None:
        super().__init__(common, own)
        self._dialect: Dialect = DOCKER
        self.capabilities = self._capabilities(DOCKER, has_gpus=own.gpus == "yes")
        self._sightings = Sightings(self._inspect, self._post_mortem)

    # Where the engine is, and what it is

    def url(self) -> str:
        """Return the engine's URL."""
        raise NotImplementedError

    def tls(self) -> Path | None:
        """Return the folder of the certificates, for TCP with TLS."""
        return None

    def open(self) -> None:
        client = connect(self.url(), self.tls(), self.own.engine_timeout_s)
        with translated(Doing.ASK):
            version, info = client.version(), client.info()
        self._dialect = PODMAN if PODMAN.is_spoken_by(version) else DOCKER
        self.capabilities = self._capabilities(self._dialect, has_gpus=self._has_gpus(info))
        volume = find_volume(client, self.common)
        has_subpath = self._dialect.has_subpath(client.api_version)
        if volume and not has_subpath and self.common.storebase is None and not volume.mountpoint.is_dir():
            client.close()
            raise Rejected(
                f"STOREBASE: this engine cannot mount folders of the volume {volume.name} by itself (that needs Docker"
                " 26), so pman checks them: mount the volume for pman, too, and set STOREBASE to where it is"
            )
        self._storage = storage_of(self.common, volume, has_subpath=has_subpath)
        self._client = client

    def _capabilities(self, dialect: Dialect, *, has_gpus: bool) -> Capabilities:
        engine = "" if dialect.name == self.name else dialect.name
        return Capabilities(gpus=has_gpus, watches=True, ends_overdue=False, engine=engine)

    def _has_gpus(self, info: Mapping[str, Any]) -> bool:
        return self._dialect.has_gpus(info) if self.own.gpus == "auto" else self.own.gpus == "yes"

    # Submit

    @property
    def pulls_first(self) -> bool:
        return self.own.image_pull_policy == "always"

    @property
    def pull_timeout_s(self) -> float:
        return self.own.image_pull_timeout_s

    def pull(self, image: str, tell: Callable[[str], None]) -> None:
        # A connection of its own, with more patience: a large layer is unpacked without a word.
        with closing(connect(self.url(), self.tls(), self.own.engine_timeout_s, PULL_SILENCE_S)) as client:
            pull(client, image, tell, self.pull_timeout_s)

    def submit(self, spec: JobSpec) -> Handle:
        if faults := self.capabilities.refusals(spec.request):
            raise Rejected("; ".join(map(str, faults)))
        begun_s = boot_clock_s()
        config = build_container(spec, self.common, self.own, self._mounts(spec), self._gpus)
        try:
            with translated(Doing.CREATE, spec.request.image):
                made = self._engine.create_container_from_config(config, spec.native_name)  # type: ignore[no-untyped-call]
        except NameTaken as error:
            return self._adopt(spec, str(error))
        except ImageMissing as error:
            if self.own.image_pull_policy == "never":
                message = f"the engine has no image {error.image}, and IMAGE_PULL_POLICY=never forbids to fetch it"
                raise Rejected(message, Reason.IMAGE_PULL) from error
            raise
        if boot_clock_s() - begun_s > self.own.engine_timeout_s:
            # Whoever found the name taken may have started it by now; it may even have ended.
            raise Unavailable("the container is made, too late to start it safely")
        self._start(made["Id"])
        return handle_of(made["Id"])

    def _mounts(self, spec: JobSpec) -> list[Mount]:
        mounts = super()._mounts(spec)
        if not self._dialect.quotes_mounts:
            refuse_what_podman_splits(mounts)
        return mounts

    @property
    def _gpus(self) -> Gpus:
        return self._dialect.gpus if self.capabilities.gpus else "none"

    def _start(self, container_id: str) -> None:
        try:
            with translated(Doing.START):
                self._engine.start(container_id)
        except Rejected:
            if not self._dialect.keeps_start_errors:
                with suppress(BackendError), translated(Doing.END):  # it never ran, and would pass for not started yet
                    self._engine.remove_container(container_id, force=True, v=True)
            raise

    def _adopt(self, spec: JobSpec, refusal: str) -> Handle:
        """Return the handle of the container that has the name, if it is this job.

        One that is made and not started may be in the hands of another worker, and to start it again after its end
        would run it twice. So it is only started when that worker has had all the time that it may take.
        """
        until_s = boot_clock_s() + self.own.engine_timeout_s + 2
        while True:
            try:
                container = self._inspect(spec.native_name)
            except NotThere:  # Docker takes the name before it shows the container
                if boot_clock_s() > until_s:
                    raise
                time.sleep(LOOK_AGAIN_S)
                continue
            found = identity_of(container["Config"]["Labels"])
            if found != Identity(spec.jid, spec.generation, spec.instance, spec.request.digest):
                raise Conflict(f"the name {spec.native_name} is held by another container: {refusal}")
            sighting = observed_from(container)
            if not isinstance(sighting, Observed) or sighting.state is not State.QUEUED:
                return handle_of(container["Id"])
            if boot_clock_s() > until_s:
                if self._dialect.forgets_starts and may_have_begun(container):
                    message = "the engine was killed as the job began: it may have run, and is not run again"
                    raise Rejected(message, Reason.NODE_FAIL)
                self._start(container["Id"])
                return handle_of(container["Id"])
            time.sleep(LOOK_AGAIN_S)

    # Observe

    def observe(self, refs: Sequence[JobRef]) -> Mapping[tuple[str, str], Sighting]:
        if not refs:
            return {}
        listed = self._list(refs[0].generation if len(refs) == 1 else "")
        return {(ref.jid, ref.generation): self._sight(ref, listed) for ref in refs}

    def owned(self) -> Iterator[Owned]:
        for container in self._list().values():
            sighting = self._sightings.of_listed(container)
            if isinstance(sighting, Observed):
                yield Owned(sighting, spec_of(container["Labels"]))

    def _list(self, generation: str = "") -> dict[str, Container]:
        """Return our containers by generation, all of them or the one of ``generation``."""
        filters = of_instance(self.common.pman_instance, generation)
        with translated(Doing.ASK):
            listed = self._engine.containers(all=True, filters=filters)
        found = {}
        for container in listed:
            identity = identity_of(container["Labels"])
            if identity is not None:
                found[identity.generation] = container
        if not generation:
            self._sightings.forget_all_but({container["Id"] for container in listed})
        return found

    def _sight(self, ref: JobRef, listed: Mapping[str, Container]) -> Sighting:
        if ref.is_newer_than(HANDLE_VERSION):
            return Unknown("the handle was written by a newer release")
        container = listed.get(ref.generation)
        identity = None if container is None else identity_of(container["Labels"])
        if container is None or identity is None or identity.jid != ref.jid:
            return Absent()
        return self._sightings.of_listed(container)

    def _inspect(self, name_or_id: str) -> Container:
        with translated(Doing.ASK):
            inspected: Container = self._engine.inspect_container(name_or_id)
        return inspected

    def _post_mortem(self, container: Container) -> Sighting:
        return post_mortem(self._engine, self._dialect, container)

    # Logs

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable(f"the handle of {ref.jid} was written by a newer release")
        name = str(ref.handle.data["id"]) if ref.handle else native_name(ref.jid, ref.generation)
        lines = str(tail_lines) if self._dialect.cuts_logs else "all"
        end = read_end(self._engine, f"/containers/{name}/logs", lines, max_bytes, self.own.engine_timeout_s)
        return tail(end, tail_lines, max_bytes)

    # End and remove

    def end(self, jid: str, generation: str) -> None:
        self._kill(jid, generation, lambda _: Verdict(Reason.CANCELLED, "ended on request"))

    def end_overdue(self, jid: str, generation: str) -> None:
        self._kill(jid, generation, lambda labels: Verdict(Reason.TIME_LIMIT, overdue_message(labels, self.common)))

    def _kill(self, jid: str, generation: str, verdict_on: Callable[[Labels], Verdict]) -> None:
        """Kill the job's container, and have it tell the verdict on a container with such labels."""
        try:
            container = self._inspect(native_name(jid, generation))
            identity = identity_of(container["Config"]["Labels"])
            if identity is None or (identity.jid, identity.generation) != (jid, generation):
                return
            if container["State"]["Status"] in RUNNING:
                marks.leave(self._engine, container["Id"], verdict_on(container["Config"]["Labels"]))
                with translated(Doing.END):
                    self._engine.kill(container["Id"])
                return
            sighting = observed_from(container)
            if isinstance(sighting, Observed) and sighting.state is State.QUEUED:
                self.remove(jid, generation)
        except NotThere:
            return

    def remove(self, jid: str, generation: str) -> bool:
        # By its name alone, which only this job can have: to look first would be one more call for every job.
        try:
            with translated(Doing.END):
                self._engine.remove_container(native_name(jid, generation), force=True, v=True)
        except NotThere as error:
            return not error.is_busy
        return True

    # Health and events

    def _trouble(self) -> str:
        with translated(Doing.ASK):
            self._engine.ping()
        return ""

    def cursor(self) -> str:
        with translated(Doing.ASK):
            now = moment(self._engine.info()["SystemTime"])
        if now is None:
            raise Unavailable("the engine does not know what time it is")
        return to_cursor(int(now.timestamp() * 1_000_000) * 1000)

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        with EventStream(self._engine, self.common.pman_instance, from_cursor(cursor)) as stream:
            for event in stream.events(stop):
                observed = None if event is None else self._sightings.of_event(event)
                if event is None or observed is not None:
                    yield WatchEvent(to_cursor(stream.since_ns), observed)

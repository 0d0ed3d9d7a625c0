"""A backend that runs each job as one container of an engine: all of ``docker`` and ``podman`` but their differences.

How many calls a job costs, however long it runs and however often it is polled: create, start, logs at its end,
delete, and one to inspect it if it failed. Listings and events are shared by all jobs.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
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
from backends._engine.logs import end_of, frames, in_time
from backends._engine.mounts import Mount, refuse_what_podman_splits, storage_of
from backends._engine.pull import pull
from backends._engine.settings import ContainerSettings
from backends._engine.state import (
    HANDLE_VERSION,
    RUNNING,
    Verdict,
    handle_of,
    is_killed,
    moment,
    observed_from,
    observed_gone,
    observed_running,
    observed_success,
)
from backends._engine.volumes import find_volume
from backends._identity import Identity
from pman_core.backend import (
    Absent,
    Capabilities,
    Handle,
    Health,
    JobRef,
    Observed,
    Owned,
    Sighting,
    Unknown,
    WatchEvent,
)
from pman_core.clock import boot_clock_s
from pman_core.errors import BackendError, Conflict, ImageMissing, Rejected, Unavailable, Unparseable
from pman_core.job import JobSpec, native_name
from pman_core.log_tail import tail
from pman_core.settings import Settings as CommonSettings
from pman_core.states import TERMINAL, Reason, State

Container = Mapping[str, Any]
log = logging.getLogger(__name__)
LOOK_AGAIN_S = 0.05
PULL_SILENCE_S = 300.0


class ContainerBackend(EngineBackend):
    """See the text of the module. Subclasses say where the engine is."""

    own: ContainerSettings

    def __init__(self, common: CommonSettings, own: ContainerSettings) -> None:
        super().__init__(common, own)
        self._dialect: Dialect = DOCKER
        self.capabilities = self._capabilities(DOCKER, has_gpus=own.gpus == "yes")
        self._started_at: dict[str, datetime] = {}
        self._ended: dict[str, Observed] = {}
        self._asking = threading.Lock()
        """Held while a container is inspected and remembered: listing and stream tell of the same end at once."""

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
            sighting = self._sighting(container)
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
            self._forget_all_but({container["Id"] for container in listed})
        return found

    def _forget_all_but(self, ids: set[str]) -> None:
        for memory in (self._started_at, self._ended):
            for container_id in memory.keys() - ids:
                memory.pop(container_id, None)

    def _sight(self, ref: JobRef, listed: Mapping[str, Container]) -> Sighting:
        if ref.is_newer_than(HANDLE_VERSION):
            return Unknown("the handle was written by a newer release")
        container = listed.get(ref.generation)
        identity = None if container is None else identity_of(container["Labels"])
        if container is None or identity is None or identity.jid != ref.jid:
            return Absent()
        return self._sighting(container)

    def _sighting(self, container: Container) -> Sighting:
        """Return the sighting of a listed container. A listing says little: what it leaves out is asked for once."""
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
                return self._remembered(self._observed(inspected))
            except NotThere:
                return Unknown("the container went away while it was looked at")
            except Unavailable:
                raise
            except Exception as error:
                # One that cannot be read, whosever fault it is, must not hide all the others.
                log.exception("container %s cannot be read", container_id)
                return Unknown(f"{type(error).__name__}: {error}")

    def _inspect(self, name_or_id: str) -> Container:
        with translated(Doing.ASK):
            inspected: Container = self._engine.inspect_container(name_or_id)
        return inspected

    def _observed(self, container: Container) -> Sighting:
        """Return the sighting of an inspected container, with what else must be asked for to tell a killed one."""
        if not is_killed(container):
            return observed_from(container)
        mark = self._mark_of(container["Id"])
        if mark is not None:
            return observed_from(container, mark)
        if self._dialect.tells_oom:
            # It may tell so a moment late.
            time.sleep(LOOK_AGAIN_S)
            return observed_from(self._inspect(container["Id"]))
        has_limit = container["HostConfig"]["Memory"] > 0
        return observed_from(container, Verdict(is_oom=has_limit and self._died_unasked(container)))

    def _remembered(self, sighting: Sighting) -> Sighting:
        if isinstance(sighting, Observed):
            container_id = str(sighting.handle.data["id"])
            if sighting.state in TERMINAL:
                self._ended[container_id] = sighting
            elif sighting.started_at is not None:
                self._started_at[container_id] = sighting.started_at
        return sighting

    def _died_unasked(self, container: Container) -> bool:
        """Whether the engine's own events show its death, and that nobody had told the engine to kill it."""
        started, finished = moment(container["State"]["StartedAt"]), moment(container["State"]["FinishedAt"])
        if started is None or finished is None:
            return False
        # Podman has no events at all for an end of time that is past.
        since, until = int(started.timestamp()), int(max(finished.timestamp(), time.time())) + 2
        filters = {"type": ["container"], "container": [container["Id"]]}
        with translated(Doing.ASK):
            actions = {event["Action"] for event in self._engine.events(since, until, filters, decode=True)}
        return bool(actions & {"die", "died"}) and not actions & {"kill", "stop"}

    # Logs

    def logs(self, ref: JobRef, tail_lines: int, max_bytes: int) -> str:
        if ref.is_newer_than(HANDLE_VERSION):
            raise Unavailable(f"the handle of {ref.jid} was written by a newer release")
        name = str(ref.handle.data["id"]) if ref.handle else native_name(ref.jid, ref.generation)
        wanted = str(tail_lines) if self._dialect.cuts_logs else "all"
        try:
            with translated(Doing.ASK):
                response = self._engine.get_stream(f"/containers/{name}/logs", stdout="1", stderr="1", tail=wanted)
                with response:
                    # One byte more than asked for tells a log that is cut from one that is not.
                    chunks = in_time(response.iter_content(65536), self.own.engine_timeout_s)
                    end = end_of(frames(chunks), max_bytes + 1)
        except NotThere:
            return ""
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
                self._set_mark(container["Id"], verdict_on(container["Config"]["Labels"]))
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

    def _set_mark(self, container_id: str, verdict: Verdict) -> None:
        """Leave the verdict in the container. One that cannot be written does not keep it from being killed."""
        try:
            with translated(Doing.END):
                self._engine.put_archive(container_id, marks.FOLDER, marks.pack(verdict))
        except NotThere:
            raise
        except BackendError as error:
            log.warning("it will not be told why container %s was ended: %s", container_id, error)

    def _mark_of(self, container_id: str) -> Verdict | None:
        try:
            with translated(Doing.ASK):
                chunks, _ = self._engine.get_archive(container_id, f"{marks.FOLDER}{marks.NAME}")
                return marks.unpack(chunks)
        except (NotThere, Rejected, Unparseable):
            return None

    # Health and events

    def health(self) -> Health:
        try:
            with translated(Doing.ASK):
                self._engine.ping()
        except Unavailable as error:
            return Health(ok=False, message=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not well
            return Health(ok=False, message=f"{type(error).__name__}: {error}")
        return Health(ok=True)

    def cursor(self) -> str:
        with translated(Doing.ASK):
            now = moment(self._engine.info()["SystemTime"])
        if now is None:
            raise Unavailable("the engine does not know what time it is")
        return to_cursor(int(now.timestamp() * 1_000_000) * 1000)

    def watch(self, cursor: str, stop: threading.Event) -> Iterator[WatchEvent]:
        with EventStream(self._engine, self.common.pman_instance, from_cursor(cursor)) as stream:
            for event in stream.events(stop):
                observed = None if event is None else self._observed_event(event)
                if event is None or observed is not None:
                    yield WatchEvent(to_cursor(stream.since_ns), observed)

    def _observed_event(self, event: Mapping[str, Any]) -> Observed | None:
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
                sighting = self._remembered(self._observed(inspected))
            except NotThere:
                code = int(actor["Attributes"].get("exitCode", 255))
                return observed_gone(actor["Attributes"], actor["ID"], code, at) if is_end else None
            except Unavailable:
                raise
            except Exception:
                log.exception("container %s cannot be read", actor["ID"])
                return None
        return sighting if isinstance(sighting, Observed) else None

    def _inspect_ended(self, container_id: str) -> Container:
        """Return a container that has told its end; its state may follow a moment later."""
        for _ in range(10):
            container = self._inspect(container_id)
            if container["State"]["Status"] not in RUNNING:
                break
            time.sleep(LOOK_AGAIN_S)
        return container

"""The init containers of a pod, which run before its own; a sidecar stays, and is begun again when it ends.

A sidecar is up as soon as it runs, if it has no startup probe, or when that succeeds: a command, run here.
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
"""

import subprocess
import time
from pathlib import Path

from tests.fakes.kube_api.containers import Container
from tests.fakes.kube_api.storage import Json, now

BACK_OFF_S = 10


class InitContainers:
    """Those of one pod; ``step`` goes on with them."""

    def __init__(self, pod: Json, log: Path) -> None:
        specs = pod["spec"].get("initContainers", ())
        self._all = [_InitContainer(pod, spec, log.with_name(f"{log.name}-{spec['name']}")) for spec in specs]
        self.have_let_through = not specs
        """Whether the pod's own was allowed to begin once."""

    def step(self, second_s: float) -> bool:
        """Whether the pod's own may begin."""
        are_done = all(one.step(second_s) for one in self._all)  # one after the other: the rest is not looked at
        self.have_let_through = self.have_let_through or are_done
        return are_done

    @property
    def have_failed(self) -> bool:
        return any(one.has_failed for one in self._all)

    def statuses(self) -> list[Json]:
        return [one.status() for one in self._all]

    def log(self, name: str) -> bytes | None:
        """Return what one of them has written when it last ran; ``None`` if it has not."""
        found = next((one.log for one in self._all if one.name == name), None)
        return found.read_bytes() if found is not None and found.exists() else None

    def close(self) -> None:
        for one in self._all:
            one.close()


class _InitContainer:
    def __init__(self, pod: Json, spec: Json, log: Path) -> None:
        self.name, self.log = str(spec["name"]), log
        self._pod, self._spec = pod, spec
        self._is_sidecar = spec.get("restartPolicy") == "Always"
        self._container: Container | None = None
        self._started_at = ""
        self._end: Json | None = None
        self._last: Json | None = None
        self._restarts = 0
        self._waits_until_s: float | None = None

    @property
    def has_failed(self) -> bool:
        return not self._is_sidecar and self._end is not None and self._end["exitCode"] != 0

    @property
    def _is_up(self) -> bool:
        if self._container is None or not self._is_sidecar:
            return False
        probe = self._spec.get("startupProbe", {}).get("exec", {}).get("command", ["true"])
        return subprocess.run(probe, check=False).returncode == 0

    def step(self, second_s: float) -> bool:
        """Whether what comes after it may begin."""
        if self._container is not None:
            self._note_end(self._container.exit_code())
        elif self._end is None:
            self._begin()
        elif not self._is_sidecar:
            return self._end["exitCode"] == 0
        elif self._waits_until_s is None:
            self._waits_until_s = time.monotonic() + (BACK_OFF_S * second_s if self._restarts else 0)
        elif time.monotonic() >= self._waits_until_s:
            self._last, self._end, self._waits_until_s = self._end, None, None
            self._restarts += 1
            self._begin()
        return self._is_up

    def status(self) -> Json:
        is_done = not self._is_sidecar and self._end is not None and self._end["exitCode"] == 0
        shown = {"name": self.name, "image": self._spec["image"], "imageID": "", "restartCount": self._restarts}
        shown |= {"ready": is_done or self._is_up, "started": self._is_up, "lastState": {}}
        if self._waits_until_s is not None and self._restarts:
            message = f"back-off {BACK_OFF_S}s restarting failed container={self.name}"
            waiting = {"reason": "CrashLoopBackOff", "message": message}
            return shown | {"state": {"waiting": waiting}, "lastState": {"terminated": self._end}}
        if self._last is not None:
            shown["lastState"] = {"terminated": self._last}
        if self._container is not None:
            return shown | {"state": {"running": {"startedAt": self._started_at}}}
        if self._end is not None:
            return shown | {"state": {"terminated": self._end}}
        return shown | {"state": {"waiting": {"reason": "PodInitializing"}}}

    def close(self) -> None:
        if self._container is not None:
            self._container.kill()
            self._note_end(self._container.exit_code())

    def _note_end(self, code: int | None) -> None:
        if code is not None:
            reason = "Error" if code else "Completed"
            times = {"startedAt": self._started_at, "finishedAt": now()}
            self._end, self._container = {"exitCode": code, "reason": reason} | times, None

    def _begin(self) -> None:
        self._started_at = now()
        self._container = Container(self._pod, self.log, self._spec)

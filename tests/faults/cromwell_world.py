"""A Cromwell under fire: the fake of ``tests/fakes/cromwell`` as a process, behind a proxy."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import requests

from testbed.ports import free_port
from testbed.redis_proxy import RedisProxy
from testbed.system import wait_for
from tests.fakes import cromwell as fake
from tests.faults.evidence import Native
from tests.faults.world import World

CONF = Path(fake.__file__).with_name("local.conf")
ROOT = Path(__file__).parents[2]
SCALE = 0.1
"""Of the fake's times: a workflow is resumed three seconds after a ``kill -9``."""


class CromwellWorld(World):
    backend = "cromwell"
    image = "any"

    def __init__(self, folder: Path, instance: str) -> None:
        super().__init__(folder, instance)
        self._last = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()

    def prepare(self) -> Mapping[str, str]:
        self.start()
        self._last.callback(self._end)
        self.proxy = RedisProxy(self._port)
        self._last.callback(self.proxy.close)
        url = f"http://127.0.0.1:{self.proxy.port}"
        return {"CROMWELL_URL": url, "HPC_RUNTIME": "none", "HPC_ANY_IMAGE": "yes", "CROMWELL_TIMEOUT_S": "5"}

    # Cromwell

    def start(self) -> None:
        """Start it (again), over what the one before has left."""
        argv = [
            sys.executable,
            "-m",
            "tests.fakes.cromwell",
            str(CONF),
            str(self._database),
            str(self._port),
            str(SCALE),
        ]
        with (self.folder / "cromwell.log").open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=os.environ | {"HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for("Cromwell answers", self._answers)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to the command of the site that it runs just now; jobs are none of these."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def terminate(self) -> None:
        """Tell the server to end, and wait until it has.

        Not the command of the site that it runs just now: a submit that is killed while Cromwell lives is a job that
        Cromwell has failed to submit, and calls failed.
        """
        assert self._process is not None
        self._process.terminate()
        self.wait_ended()

    def wait_ended(self) -> None:
        assert self._process is not None
        self._process.wait(20)

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{self._port}/engine/v1/version", timeout=2).ok
        return False

    def _end(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.wait_ended()

    @property
    def _database(self) -> Path:
        return self.folder / "cromwell"

    # What the audit asks

    def natives(self) -> list[Native]:
        """Return the jobs that have a control folder, and workflows that go on without one."""
        found = {}
        for folder in sorted((self.store_base / ".pman" / self.instance / "cromwell").iterdir()):
            if not folder.name.isalnum() or (folder / "removed").exists():
                continue
            with suppress(FileNotFoundError):  # it is removed just now
                jid = json.loads(json.loads((folder / "spec.json").read_text())["request"])["jid"]
                end = _facts(folder / "end")
                code = end.get("exit_code", "")
                state = "ended" if end else "running"
                found[folder.name] = Native(jid, folder.name, state, int(code) if code else None)
        for path in sorted((self._database / "database").glob("*.json")):
            workflow = json.loads(path.read_text())
            labels = json.loads(workflow["labels"] or "{}")
            generation = labels["pman-generation"]
            if workflow["state"] and generation not in found:
                found[generation] = Native(labels["pman-jid"], generation, f"workflow {workflow['state']}")
        return list(found.values())

    def processes(self) -> list[str]:
        """Jobs and launchers have a path below the store base as an argument."""
        found, inside = [], f"{self.store_base}/"
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                arguments = process.cmdline()
                if any(argument.startswith(inside) for argument in arguments):
                    found.append(f"{process.pid}: {' '.join(arguments)[:200]}")
        return found

    def close(self) -> None:
        self._last.close()
        for text in self.processes():
            with suppress(psutil.NoSuchProcess):
                psutil.Process(int(text.partition(":")[0])).kill()


def _facts(folder: Path) -> dict[str, str]:
    path = folder / "facts"
    if not path.exists():
        return {}
    return dict(fact.split("=", 1) for fact in path.read_text().split("\0")[:-1])

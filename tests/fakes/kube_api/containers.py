"""A container as a process of this machine: really run, with its arguments, its environment, its user and its log.

There is no image and no file system of its own. Where a folder of the machine is mounted, a variable says where it
is: ``FAKE_MOUNT__share_incoming=/the/folder`` for ``/share/incoming``. Programs of tests look there. The user is set if
the tests run as root, else only told, by ``FAKE_UID`` and ``FAKE_GID``; CPUs are never limited, ``FAKE_CPU_MAX`` says
what a control group would.
"""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.fakes.kube_api.storage import Json

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PERIOD_US = 100_000
REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


class CannotStart(Exception):
    """The runtime could not start the command."""


class Container:
    """One process in a session of its own. When it ends, or is killed, all of the session ends."""

    def __init__(self, pod: Json, log: Path, spec: Json | None = None) -> None:
        """``spec`` is that of the container, by default the pod's first own."""
        spec = spec or pod["spec"]["containers"][0]
        env = environment(pod, spec)
        argv = [expanded(text, env) for text in (*spec["command"], *spec.get("args", ()))]
        user: dict[str, Any] = {}
        context = pod["spec"].get("securityContext", {}) | spec.get("securityContext", {})
        if os.geteuid() == 0:
            user = {"user": context.get("runAsUser"), "group": context.get("runAsGroup"), "extra_groups": []}
        with log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    argv,
                    env=env,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    **user,
                )
            except OSError as error:
                why = (error.strerror or "").lower()
                raise CannotStart(START_ERROR.format(command=argv[0], why=why)) from error

    def exit_code(self) -> int | None:
        """Return 128 + N after signal N; ``None`` as long as the first process lives. Ends those that it left."""
        code = self._process.poll()
        if code is None:
            return None
        self._signal(signal.SIGKILL)
        return 128 - code if code < 0 else code

    def terminate(self) -> None:
        """Tell the first process to end. In a real container it is number 1, which a signal that it has no handler for
        does nothing to: ``sleep`` has to be killed.
        """
        if _handles(self._process.pid, signal.SIGTERM):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all of them, and wait for the first."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _handles(pid: int, number: signal.Signals) -> bool:
    """https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


START_ERROR = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed:"
    ' unable to start container process: exec: "{command}": {why}: unknown'
)


def environment(pod: Json, spec: Json | None = None) -> dict[str, str]:
    """Return all variables of a container, by default the first: the pod's own come last."""
    spec = spec or pod["spec"]["containers"][0]
    env = {"PATH": PATH, "HOME": "/root", "HOSTNAME": pod["spec"].get("hostname", pod["metadata"]["name"])}
    for variable in spec.get("env", ()):
        if "fieldRef" in variable.get("valueFrom", {}):
            found = re.fullmatch(r"metadata\.(\w+)\['(.*)'\]", variable["valueFrom"]["fieldRef"]["fieldPath"])
            assert found, variable
            env[variable["name"]] = pod["metadata"][found[1]][found[2]]
        else:
            env[variable["name"]] = expanded(variable.get("value", ""), env)
    return env | _told(pod, spec)


def _told(pod: Json, spec: Json) -> dict[str, str]:
    """Return what a real container would find in its file system."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
    told = {}
    for mount in spec.get("volumeMounts", ()):
        if host := volumes[mount["name"]].get("hostPath"):
            folder = Path(host["path"]) / mount.get("subPath", "")
            told["FAKE_MOUNT_" + re.sub(r"\W", "_", mount["mountPath"])] = str(folder)
    cpu = spec.get("resources", {}).get("limits", {}).get("cpu")
    if cpu is not None:
        cores = float(cpu.removesuffix("m")) / (1000 if cpu.endswith("m") else 1)
        told["FAKE_CPU_MAX"] = f"{int(cores * PERIOD_US)} {PERIOD_US}"
    if os.geteuid() != 0:
        context = pod["spec"].get("securityContext", {})
        told |= {"FAKE_UID": str(context.get("runAsUser", 0)), "FAKE_GID": str(context.get("runAsGroup", 0))}
    return told


def expanded(text: str, env: dict[str, str]) -> str:
    """Replace ``$(NAME)`` by a variable that is there, and ``$$`` by ``$``, as the kubelet does.

    https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
    """
    return REFERENCE.sub(lambda found: env.get(found[1], found[0]) if found[1] else "$", text)

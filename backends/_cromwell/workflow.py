"""What is submitted for a job: the WDL, its inputs, labels and options, as the parts of one multipart form. Pure.

The WDL runs our launcher on the node, outside of any container; the launcher runs the container. Nothing of a job is
ever part of the WDL's text: it comes as inputs, in base64, so that no engine has anything to quote or to expand.

https://github.com/openwdl/wdl/blob/main/versions/1.0/SPEC.md
https://cromwell.readthedocs.io/en/stable/RuntimeAttributes/
https://cromwell.readthedocs.io/en/stable/wf_options/Overview/
"""

import base64
import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backends._cromwell.replies import DIGEST, GENERATION, INSTANCE, JID
from pman_core.errors import Fault
from pman_core.job import JobSpec
from pman_core.settings import Settings

NAMESPACE = uuid.UUID("6f0b3b0e-8d0c-5f6e-9a53-2d0c1b8e7c41")
LABEL_CHARS_MAX = 255
NOT_MOUNTED = 112
"""What the call exits with where the launcher is not there, or runs as somebody else."""
WORKFLOW, TASK = "pman", "job"
MEMORY = "memory_mb"

Attributes = Mapping[str, int | str]

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")

_KEYWORDS = (
    "Array Boolean Directory File Float Int Map None Object Pair String alias as call command else false if import in "
    "input left meta object output parameter_meta right runtime scatter struct task then true version workflow"
)
_ATTRIBUTES = (
    "cpu gpu gpus memory memory_mb runtime_minutes docker container continueOnReturnCode failOnStderr maxRetries "
    "returnCodes backend"
)
RESERVED_NAMES = frozenset(f"{_KEYWORDS} {_ATTRIBUTES} launcher_base64 folder_base64 argv_base64 env_base64".split())
"""What a site's own runtime attribute must not be called."""

_DATA = ("launcher_base64", "folder_base64", "argv_base64", "env_base64")

_COMMAND = """\
    set -u
    umask 077
    export PATH="/usr/local/bin:/usr/bin:/bin:${PATH:-}"
    decode() { printf '%s' "$1" | base64 -d; }
    give() { decode "$2" >"$folder/$1.$HOSTNAME.$$" && mv -f -T -- "$folder/$1.$HOSTNAME.$$" "$folder/$1"; }
    launcher=$(decode '~{launcher_base64}')
    folder=$(decode '~{folder_base64}')
    if [ ! -r "$launcher" ]; then
      echo "pman: $launcher is not there on $(hostname): is the store mounted?" >&2
      exit NOT_MOUNTED
    fi
    if [ -d "$folder" ] && [ ! -O "$folder" ]; then
      echo "pman: $folder is not of $(id -un), whom this runs as: let Cromwell submit as pman's own account" >&2
      exit NOT_MOUNTED
    fi
    if [ -d "$folder" ] && [ ! -e "$folder/removed" ]; then
      give argv '~{argv_base64}'
      give env '~{env_base64}'
    fi
    exec /bin/bash "$launcher" "$folder" "${SLURM_JOB_ID:-${PBS_JOBID:-${LSB_JOBID:-${JOB_ID:-$$}}}}"
""".replace("NOT_MOUNTED", str(NOT_MOUNTED))


@dataclass(frozen=True, slots=True)
class Task:
    """What the launcher is given, and where."""

    launcher: str
    """The launcher's path as the nodes see it."""
    folder: str
    """The job's control folder as the nodes see it."""
    argv: bytes
    """The file ``argv`` of the control folder."""
    env: bytes
    """The file ``env`` of the control folder."""


def workflow_id(instance: str, jid: str, generation: str) -> str:
    """Return the id that the workflow of a job has, whoever submits it, and however often."""
    return str(uuid.uuid5(NAMESPACE, f"{instance}/{jid}/{generation}"))


def build_attributes(spec: JobSpec, common: Settings, of_site: Iterable[tuple[str, str]]) -> dict[str, int | str]:
    """Return the runtime attributes of a job by their names; the limits by the units that these say."""
    request = spec.request
    attributes: dict[str, int | str] = {}
    if not common.ignore_limits:
        attributes |= {"cpu": math.ceil(request.cpu_millicores / 1000), MEMORY: request.memory_mib}
    if request.gpus:
        # Not ``gpu``: since it is a Boolean of WDL 1.1, Cromwell takes it out of a WDL 1.0.
        attributes["gpus"] = request.gpus
    if (limit_s := common.time_limit_s(request.time_limit_minutes)) is not None:
        attributes["runtime_minutes"] = max(1, math.ceil(limit_s / 60))
    return attributes | build_site_attributes(of_site)


def build_site_attributes(pairs: Iterable[tuple[str, str]]) -> dict[str, int | str]:
    """Return the site's own runtime attributes; what is written as a number that fits is an ``Int``, of 32 bits."""
    return {name: int(text) if _NUMBER.fullmatch(text) and int(text) < 2**31 else text for name, text in pairs}


def build_wdl(attributes: Attributes) -> str:
    """Return the WDL. It depends on which attributes there are and on nothing else."""
    declared = [f"    String {name}" for name in _DATA]
    declared += [f"    {'Int' if isinstance(value, int) else 'String'} {name}" for name, value in attributes.items()]
    inputs = "\n".join(declared)
    runtime = [f"    {name}: {name}" for name in attributes if name != MEMORY]
    if MEMORY in attributes:
        # Cromwell turns ``memory`` into the ``memory_mb`` (or ``memory_gb``) that the site's configuration declares.
        runtime.append(f'    memory: "~{{{MEMORY}}} MB"')
    runtime += ["    maxRetries: 0", "    continueOnReturnCode: 0", "    failOnStderr: false"]
    passed = ",\n".join(f"      {name} = {name}" for name in (*_DATA, *attributes))
    return (
        f"version 1.0\n\ntask {TASK} {{\n  input {{\n{inputs}\n  }}\n\n  command <<<\n{_COMMAND}  >>>\n\n"
        f"  runtime {{\n{chr(10).join(runtime)}\n  }}\n}}\n\n"
        f"workflow {WORKFLOW} {{\n  input {{\n{inputs}\n  }}\n\n  call {TASK} {{\n    input:\n{passed}\n  }}\n}}\n"
    )


def build_inputs(task: Task, attributes: Attributes) -> dict[str, int | str]:
    """Return the workflow's inputs by their full names."""
    data = {
        "launcher_base64": _base64(task.launcher.encode()),
        "folder_base64": _base64(task.folder.encode()),
        "argv_base64": _base64(task.argv),
        "env_base64": _base64(task.env),
    }
    return {f"{WORKFLOW}.{name}": value for name, value in (data | dict(attributes)).items()}


def build_labels(spec: JobSpec, extra: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the labels: whose the workflow is, and those of the site. The spec has no room in them."""
    ours = {INSTANCE: spec.instance, JID: spec.jid, GENERATION: spec.generation, DIGEST: spec.request.digest}
    return dict(extra) | ours


def build_form(
    spec: JobSpec, task: Task, attributes: Attributes, extra_labels: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """Return the parts of the multipart form of a submit."""
    options = {
        # One group for all: a poll of Cromwell starts the workflows of one group, and each would be one of its own.
        "hogGroup": f"pman-{spec.instance}",
        # A job that looks like an earlier one is to run all the same.
        "read_from_cache": False,
        "write_to_cache": False,
    }
    return {
        "workflowSource": build_wdl(attributes),
        "workflowInputs": json.dumps(build_inputs(task, attributes)),
        "workflowOptions": json.dumps(options),
        "labels": json.dumps(build_labels(spec, extra_labels)),
        "workflowType": "WDL",
        "workflowTypeVersion": "1.0",
        "requestedWorkflowId": workflow_id(spec.instance, spec.jid, spec.generation),
    }


def label_faults(labels: Iterable[tuple[str, str]]) -> list[Fault]:
    """Return what is wrong with JOB_LABELS for a server that would refuse every job with them."""
    faults = []
    for key, value in labels:
        if key.startswith("pman-") or key == "cromwell-workflow-id":
            faults.append(Fault("JOB_LABELS", f"{key!r} is no label of the site's"))
        if len(key) > LABEL_CHARS_MAX or len(value) > LABEL_CHARS_MAX:
            faults.append(Fault("JOB_LABELS", f"{key[:40]!r}: Cromwell takes at most {LABEL_CHARS_MAX} characters"))
    return faults


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()

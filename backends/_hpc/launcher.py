"""The launcher that runs on the node, as text, and the batch script that calls it. Pure."""

import hashlib
import shlex
from pathlib import Path

LAUNCHER_TEXT = "\n".join(
    (
        Path(__file__).with_name("launcher.bash").read_text(),
        Path(__file__).with_name("watch.bash").read_text(),
        'start "$@"\n',
    )
)
LAUNCHER_NAME = f"launcher.{hashlib.sha256(LAUNCHER_TEXT.encode()).hexdigest()[:12]}.bash"
"""A job keeps the launcher that it was submitted with, whatever release comes meanwhile."""

NOT_OURS = 113
"""The launcher's exit code of a run that belongs to another one, or to nobody any more."""
OWN_FAULT = 114
"""The launcher's exit code of a job that never began; ``end/`` says why."""
NOT_MOUNTED = 112
"""The batch script's exit code where there is no launcher: the store is not mounted on the node."""

_SCRIPT = """\
#!/bin/bash
launcher={launcher}
[ -r "$launcher" ] || {{
  echo "pman: $launcher is not there on $(hostname): is the store mounted?" >&2
  exit {not_mounted}
}}
exec /bin/bash "$launcher" {folder} {native_id}
"""


def batch_script(launcher: str, folder: str, native_id: str) -> str:
    """Return the script that runs a job.

    Args:
        launcher: the launcher's path as the nodes see it.
        folder: the job's control folder as the nodes see it.
        native_id: shell text for the native id, such as ``"$SLURM_JOB_ID"``; ours, and not quoted here.
    """
    return _SCRIPT.format(
        launcher=shlex.quote(launcher), folder=shlex.quote(folder), native_id=native_id, not_mounted=NOT_MOUNTED
    )

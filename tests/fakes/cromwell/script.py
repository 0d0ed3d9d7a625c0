"""The files of a call, and the script that Cromwell writes around a task's command.

The form is that of ``StandardAsyncExecutionActor.commandScriptContents``: output through two fifos and ``tee``, ``rc``
by ``mv`` at the end.
"""

from dataclasses import dataclass
from pathlib import Path

SCRIPT = """#!/bin/bash

cd {execution}
tmpDir=$(mkdir -p "{root}/tmp.{mark}" && echo "{root}/tmp.{mark}")
chmod 777 "$tmpDir"
export _JAVA_OPTIONS=-Djava.io.tmpdir="$tmpDir"
export TMPDIR="$tmpDir"
export HOME="$HOME"
(
cd {execution}

)
out{mark}="${{tmpDir}}/out.$$" err{mark}="${{tmpDir}}/err.$$"
mkfifo "$out{mark}" "$err{mark}"
trap 'rm "$out{mark}" "$err{mark}"' EXIT
touch {execution}/stdout {execution}/stderr
tee '{execution}/stdout' < "$out{mark}" &
tee '{execution}/stderr' < "$err{mark}" >&2 &
(
cd {execution}


{command}
)  > "$out{mark}" 2> "$err{mark}"
echo $? > {execution}/rc.tmp
(
# add a .file in every empty directory to facilitate directory delocalization on the cloud
cd {execution}
find . -type d -exec sh -c '[ -z "$(ls -A '"'"'{{}}'"'"')" ] && touch '"'"'{{}}'"'"'/.file' \\;
)
(
cd {execution}
sync


)
mv {execution}/rc.tmp {execution}/rc
"""

BACKGROUND = """#!/bin/bash
'/bin/bash' '{script}' \\
  > '{execution}/stdout.background' \\
  2> '{execution}/stderr.background' \\
  < /dev/null \\
  || echo -1 \\
  > '{execution}/rc' \\
  &
echo $!
"""

KILL_BACKGROUND = """#!/bin/bash
kill_children() {{
  local pid=$1
  for cpid in $(pgrep -P $pid); do
    kill_children $cpid
  done
  echo killing $pid
  kill $pid
}}

kill_children {job_id}
"""


@dataclass(frozen=True)
class Files:
    """Where everything of a call is."""

    root: Path
    """``ROOT/WORKFLOW/ID/call-TASK``."""

    @property
    def execution(self) -> Path:
        return self.root / "execution"

    @property
    def script(self) -> Path:
        return self.execution / "script"

    @property
    def stdout(self) -> Path:
        return self.execution / "stdout"

    @property
    def stderr(self) -> Path:
        return self.execution / "stderr"

    @property
    def return_code(self) -> Path:
        return self.execution / "rc"

    def beside(self, path: Path, suffix: str) -> Path:
        return path.with_name(f"{path.name}.{suffix}")

    def write_script(self, command: str, mark: str) -> None:
        """``mark`` makes names that no command has by chance."""
        text = SCRIPT.format(execution=self.execution, root=self.root, mark=mark, command=command)
        self.script.write_text(text, encoding="utf-8", errors="surrogateescape")

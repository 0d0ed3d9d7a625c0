"""One call as a job of the site's scheduler: submitted, asked for, killed by the commands of the site's `.conf`.

After ``SharedFileSystemAsyncJobExecutionActor`` and ``DispatchedConfigAsyncJobExecutionActor`` of Cromwell.
"""

import os
import re
import subprocess
import uuid
from pathlib import Path

import WDL

from tests.fakes.cromwell.attributes import Attributes
from tests.fakes.cromwell.script import BACKGROUND, KILL_BACKGROUND, Files
from tests.fakes.cromwell.site import Site

SIGTERM_CODE = 143
INVENTED_CODE = 79
COMMAND_TIMEOUT_S = 60
ENVIRONMENT = ("PATH", "HOME", "LANG", "USER", "SLURM_CONF")
"""What Cromwell's service has of variables here; `sbatch` hands them on to the job."""


class CannotStart(Exception):
    """The site's `submit` failed, or what it printed names no job."""


class Job:
    """Where a call is, and how the site's commands are run for it."""

    def __init__(self, site: Site, workflow_name: str, workflow_id: str, call_name: str) -> None:
        self.site = site
        self.name = f"cromwell_{workflow_id[:8]}_{call_name}"
        self.workflow_root = site.root / workflow_name / workflow_id
        self.files = Files(self.workflow_root / f"call-{call_name}")

    def submit(self, command: str, attributes: Attributes) -> str:
        """Write the script and run the site's `submit`; return the id of the job.

        Raises:
            CannotStart: with the text of Cromwell's failure.
        """
        files = self.files
        files.execution.mkdir(parents=True, exist_ok=True)
        files.write_script(command, uuid.uuid4().hex[:8])
        texts = {
            "job_name": self.name,
            "cwd": str(files.root),
            "docker_cwd": f"/cromwell-executions/{files.root.relative_to(self.site.root)}",
            "out": str(files.stdout),
            "err": str(files.stderr),
            "script": str(files.script),
            "job_shell": "/bin/bash",
        }
        values = attributes.values | {name: WDL.Value.String(text) for name, text in texts.items()}
        submit = files.beside(files.script, "submit")
        submit.write_text(self.site.script(self.site.submit, values))
        if self.site.run_in_background:
            background = files.beside(files.script, "background")
            background.write_text(BACKGROUND.format(script=submit, execution=files.execution))
            submit = background
        stdout, stderr = files.beside(files.stdout, "submit"), files.beside(files.stderr, "submit")
        if self._run(submit, stdout, stderr):
            raise CannotStart(f"Unable to start job. Check the stderr file for possible errors: {stderr}")
        printed = stdout.read_text().rstrip("\n")
        found = re.fullmatch("([0-9]+)" if self.site.run_in_background else self.site.job_id_regex, printed)
        if found is None:
            raise CannotStart(
                f"Could not find job ID from stdout file.Check the stderr file for possible errors: {stderr}"
            )
        return found[1]

    def is_alive(self, job_id: str) -> bool:
        if self.site.run_in_background:
            return Path(f"/proc/{job_id}").exists()
        return not self._command(self.site.check_alive, "check", job_id)

    def kill(self, job_id: str) -> None:
        """Write that it was killed, if it has not ended, and kill it."""
        files = self.files
        killed = files.beside(files.return_code, "kill")
        killed.write_text(f"{SIGTERM_CODE}\n")
        if files.return_code.exists():
            killed.unlink()
        else:
            killed.rename(files.return_code)
        files.stderr.touch()
        if self.site.run_in_background:
            script = files.beside(files.script, "kill")
            script.write_text(KILL_BACKGROUND.format(job_id=job_id))
            self._run(script, files.beside(files.stdout, "kill"), files.beside(files.stderr, "kill"))
        else:
            self._command(self.site.kill, "kill", job_id)

    def give_up(self) -> None:
        """Invent a return code for a job that is not alive and has left none."""
        self.files.return_code.write_text(f"{INVENTED_CODE}\n")

    def return_code(self) -> str | None:
        """Return what is in the file ``rc``; ``None``: it is not there."""
        try:
            return self.files.return_code.read_text().strip()
        except FileNotFoundError:
            return None

    def _command(self, template: str, what: str, job_id: str) -> int:
        files = self.files
        script = files.beside(files.script, what)
        script.write_text(self.site.script(template, {"job_id": WDL.Value.String(job_id)}))
        return self._run(script, files.beside(files.stdout, what), files.beside(files.stderr, what))

    def _run(self, script: Path, stdout: Path, stderr: Path) -> int:
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        with stdout.open("wb") as out, stderr.open("wb") as err:
            return subprocess.run(
                ["/bin/bash", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            ).returncode

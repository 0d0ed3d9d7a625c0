"""Records what a real slurmrestd answers: ``python tests/recorded/record_slurmrestd.py [URL]``, as root.

Writes ``tests/recorded/slurm/slurmrestd.json``, which the unit tests read: for each name, the HTTP status and the body.
The cluster is that of ``SLURM_DBD=1 testbed/slurm/up.sh``, which nobody else may use meanwhile: its slurmctld is
killed, and brought back by the same script. Of ``/openapi/v3`` the paths are kept, and of a job not what it has used.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]
OUT = ROOT / "tests/recorded/slurm/slurmrestd.json"
VERSIONS = ("v0.0.36", "v0.0.37", "v0.0.38")
LEFT_OUT = ("job_resources", "steps", "tres", "required")
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "OUT_OF_MEMORY"}
PROGRAMS = {
    "succeeds": "exit 0",
    "fails": "exit 3",
    "is_killed": "kill -9 $$",
    "takes_too_much": "python3 -c 'bytearray(400 << 20)'",
    "runs": "sleep 100",
    "is_cancelled": "sleep 100",
}


class Recorder:
    def __init__(self, url: str) -> None:
        self.url = url
        self.token = token()
        self.recorded: dict[str, Any] = {}

    def call(
        self, method: str, path: str, body: Any = None, *, name: str = "", **headers: str | None
    ) -> requests.Response:
        """Ask; under ``name`` the answer is kept."""
        given = {"X-SLURM-USER-NAME": "root", "X-SLURM-USER-TOKEN": self.token} | headers
        with requests.Session() as session:
            response = session.request(method, self.url + path, json=body, headers=given, timeout=60)
        if name:
            try:
                answer = json.loads(response.content, strict=False)
            except ValueError:
                answer = response.text
            self.recorded[name] = {"status": response.status_code, "body": plain(answer)}
        return response

    def submit(self, script: str, *, name: str = "", **changes: Any) -> int:
        job = {
            "name": "pman-recorded",
            "comment": "pman/1 recorded",
            "current_working_directory": "/tmp",
            "standard_output": "/dev/null",
            "environment": {"PATH": "/usr/bin:/bin"},
            "nodes": [1, 1],
            "memory_per_node": 50,
            "time_limit": 5,
        }
        job = {key: value for key, value in (job | changes).items() if value is not None}
        body = {"script": f"#!/bin/bash\n{script}\n", "job": job}
        return int(self.call("POST", "/slurm/v0.0.38/job/submit", body, name=name).json().get("job_id", 0))

    def states(self) -> Mapping[int, str]:
        return {job["job_id"]: job["job_state"] for job in self.call("GET", "/slurm/v0.0.38/jobs").json()["jobs"]}


def token(*options: str) -> str:
    made = subprocess.run(["scontrol", "token", "username=root", *options], capture_output=True, text=True, check=True)
    return made.stdout.strip().removeprefix("SLURM_JWT=")


def plain(answer: Any) -> Any:
    """Take out the name of this machine."""
    return json.loads(json.dumps(answer).replace(json.dumps(os.uname().nodename), '"controller"'))


def wait(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def record_jobs(recorder: Recorder) -> None:
    ids = {program: recorder.submit(script) for program, script in PROGRAMS.items()}
    ids["waits"] = recorder.submit("exit 0", hold=True, name="submit_held")
    wait(lambda: recorder.states()[ids["runs"]] == recorder.states()[ids["is_cancelled"]] == "RUNNING")
    recorder.call("DELETE", f"/slurm/v0.0.38/job/{ids['is_cancelled']}", name="cancel")
    recorder.call("DELETE", f"/slurm/v0.0.38/job/{ids['succeeds']}", name="cancel_ended")
    recorder.call("DELETE", "/slurm/v0.0.38/job/999999", name="cancel_unknown")
    going_on = {ids["runs"], ids["waits"]}
    wait(lambda: all(recorder.states()[job_id] in ENDED for job_id in ids.values() if job_id not in going_on))
    time.sleep(5)  # the accounting is told later
    for version in VERSIONS:
        for path, kept in ((f"/slurm/{version}/jobs", "jobs"), (f"/slurmdb/{version}/jobs?step=", "accounted")):
            chosen = "%2C".join(map(str, ids.values())) if path.endswith("=") else ""
            recorder.call("GET", path + chosen, name=f"{kept}_{version}")
            body = recorder.recorded[f"{kept}_{version}"]["body"]
            names = {job_id: program for program, job_id in ids.items()}
            body["jobs"] = [job | {"name": names[job["job_id"]]} for job in body["jobs"] if job["job_id"] in names]
            for job in body["jobs"]:
                for key in LEFT_OUT:
                    job.pop(key, None)
    recorder.call("GET", "/slurmdb/v0.0.38/jobs?step=999999", name="accounted_nothing")
    for program in ("runs", "waits"):
        recorder.call("DELETE", f"/slurm/v0.0.38/job/{ids[program]}")


def record_refusals(recorder: Recorder) -> None:
    recorder.submit("exit 0", name="submit")
    for name, changes in {
        "no_environment": {"environment": None},
        "no_partition": {"partition": "nope"},
        "too_many_gpus": {"gres": "gpu:9"},
        "too_much_memory": {"memory_per_node": 99_999_999},
        "too_long": {"time_limit": 100 * 24 * 60},
        "too_many_nodes": {"nodes": [9, 9], "tasks": 9},
        "too_many_cpus": {"cpus_per_task": 64},
        "no_feature": {"constraints": "nope"},
        "no_reservation": {"reservation": "nope"},
        "no_licence": {"licenses": "nope:1"},
        "unknown_key": {"tres_per_node": "gres:gpu:1"},
        "wrong_type": {"environment": ["PATH=/bin"]},
        "comment_too_long": {"comment": "x" * 70_000},
    }.items():
        recorder.submit("exit 0", name=f"submit_{name}", **changes)
    recorder.submit("#" * 5_000_000, name="submit_script_too_long")
    recorder.call("GET", "/slurm/v0.0.99/jobs", name="no_such_version")
    recorder.call("GET", "/slurm/v0.0.38/job/999999", name="unknown_job")


def record_everywhere(recorder: Recorder, name: str, **headers: str | None) -> None:
    recorder.call("GET", "/slurm/v0.0.38/ping", name=f"ping_{name}", **headers)
    recorder.call("GET", "/slurm/v0.0.38/jobs", name=f"jobs_{name}", **headers)
    recorder.call("DELETE", "/slurm/v0.0.38/job/1", name=f"cancel_{name}", **headers)
    job = {"environment": {"PATH": "/bin"}, "current_working_directory": "/tmp"}
    body = {"script": "#!/bin/bash\n", "job": job}
    recorder.call("POST", "/slurm/v0.0.38/job/submit", body, name=f"submit_{name}", **headers)


def main() -> None:
    recorder = Recorder(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:6820")
    paths = recorder.call("GET", "/openapi/v3").json()["paths"]
    recorder.recorded["openapi"] = {"status": 200, "body": {"paths": dict.fromkeys(paths)}}
    recorder.call("GET", "/slurm/v0.0.38/ping", name="ping")
    record_jobs(recorder)
    record_refusals(recorder)
    record_everywhere(recorder, "no_token", **{"X-SLURM-USER-TOKEN": None})
    record_everywhere(recorder, "bad_token", **{"X-SLURM-USER-TOKEN": "bad"})
    short = token("lifespan=1")
    time.sleep(2.5)
    record_everywhere(recorder, "old_token", **{"X-SLURM-USER-TOKEN": short})
    os.kill(int(Path("/run/pman-slurm/slurmctld.pid").read_text()), signal.SIGKILL)
    record_everywhere(recorder, "controller_away")
    subprocess.run([ROOT / "testbed/slurm/up.sh"], env=os.environ | {"SLURM_DBD": "1"}, check=True)
    OUT.parent.mkdir(exist_ok=True)
    lines = (f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in sorted(recorder.recorded.items()))
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

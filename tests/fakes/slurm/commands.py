"""The fake's one program; what it does is said by the name it is called by.

A job is a folder ``jobs/ID`` beside the configuration, with ``job.json``, replaced atomically under one lock. Its
processes are those of one session, whose first one waits for the script and writes down the end.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CONF = Path(os.environ.get("SLURM_CONF", "/nonexistent"))
JOBS = CONF.parent / "jobs"
ACTIVE = ("PENDING", "RUNNING", "COMPLETING")
CPUS_MAX, NODES_MAX, MEMORY_MAX_MIB = 2, 4, 24000


def fail(text: str) -> None:
    sys.stderr.write(f"{NAME}: {text}\n")
    sys.exit(1)


def say(line) -> None:
    sys.stdout.write(f"{line}\n")


@contextlib.contextmanager
def locked():
    JOBS.mkdir(exist_ok=True)
    with (CONF.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read(job_id):
    return json.loads((JOBS / str(job_id) / "job.json").read_text())


def write(job):
    fresh = JOBS / str(job["id"]) / f"fresh.{os.getpid()}"
    fresh.write_text(json.dumps(job))
    fresh.rename(JOBS / str(job["id"]) / "job.json")


def ids():
    return sorted(int(path.name) for path in JOBS.iterdir() if (path / "job.json").exists()) if JOBS.exists() else []


def options():
    flags = (argument.removeprefix("--").partition("=") for argument in sys.argv[1:] if argument.startswith("--"))
    return {name: value for name, _, value in flags}


def sbatch():
    asked = options()
    if int(asked.get("nodes", 1)) > NODES_MAX or int(asked.get("cpus-per-task", 1)) > CPUS_MAX:
        fail("error: Batch job submission failed: More processors requested than permitted")
    if int(asked.get("mem", 0)) > MEMORY_MAX_MIB:
        sys.stderr.write("sbatch: error: Memory specification can not be satisfied\n")
        fail("error: Batch job submission failed: Requested node configuration is not available")
    if "gres" in asked:
        fail("error: Invalid generic resource (gres) specification")
    if asked.get("partition", "debug") != "debug":
        sys.stderr.write(f"sbatch: error: invalid partition specified: {asked['partition']}\n")
        fail("error: Batch job submission failed: Invalid partition name specified")
    exported = [name for name in asked["export"].split(",") if name != "NONE"]
    with locked():
        job_id = max(ids(), default=0) + 1
        folder = JOBS / str(job_id)
        folder.mkdir()
        (folder / "script").write_text(sys.stdin.read())
        minutes = asked.get("time")
        write(
            {
                "id": job_id,
                "state": "PENDING",
                "reason": "None",
                "code": 0,
                "submitted": int(time.time()),
                "started": None,
                "finished": None,
                "name": asked["job-name"],
                "comment": asked["comment"],
                # A minute lasts a second here.
                "limit_s": None if minutes is None else int(minutes),
                "output": asked["output"].replace("%%", "%"),
                "env": {name: os.environ[name] for name in exported if name in os.environ},
                "cwd": asked["chdir"],
            }
        )
    start(job_id)
    say(job_id)


def start(job_id):
    """Leave a process behind that runs the job: the first one of a session of its own."""
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    with locked():
        job = read(job_id)
        if job["state"] != "PENDING":
            os._exit(0)
        job |= {"state": "RUNNING", "started": int(time.time())}
        (JOBS / str(job_id) / "pid").write_text(str(os.getpid()))
        write(job)
    env = job["env"] | {"SLURM_JOB_ID": str(job_id), "SLURM_CONF": str(CONF)}
    with Path(job["output"]).open("ab") as output:
        script = JOBS / str(job_id) / "script"
        done = subprocess.Popen(["/bin/bash", str(script)], env=env, cwd=job["cwd"], stdout=output, stderr=output)
    try:
        status = done.wait(job["limit_s"])
        state = "FAILED" if status else "COMPLETED"
        code = -status if status < 0 else status << 8
    except subprocess.TimeoutExpired:
        state, code = "TIMEOUT", int(signal.SIGTERM)
    with locked():
        job = read(job_id)
        if job["state"] == "RUNNING":
            write(job | {"state": state, "code": code, "finished": int(time.time()), "reason": reason(state, code)})
    os.killpg(0, signal.SIGKILL)


def reason(state, code):
    return {"TIMEOUT": "TimeLimit", "COMPLETED": "None"}.get(
        state, "NonZeroExitCode" if code >= 256 else "JobLaunchFailure"
    )


def srun():
    command = sys.argv[next(at for at, word in enumerate(sys.argv[1:], 1) if not word.startswith("--")) :]
    tasks = [subprocess.Popen(command) for _ in range(int(options()["ntasks"]))]
    sys.exit(max(task.wait() for task in tasks))


def squeue():
    form = next(value for name, value in options().items() if name == "Format")
    fields = [field.split(":", 1) for field in form.split(",")]
    for job in map(read, ids()):
        known = {
            "JobID": job["id"],
            "State": job["state"],
            "Reason": job["reason"],
            "exit_code": job["code"],
            "RestartCnt": 0,
            "UserName": "fake",
            "SubmitTime": shown(job["submitted"]),
            "StartTime": shown(job["started"]),
            "EndTime": shown(job["finished"]),
            "NodeList": "n1" if job["started"] else "",
            "Name": job["name"],
            "Comment": job["comment"],
        }
        say("".join(f"{known[name]}{end}" for name, end in fields))


def shown(epoch_s):
    return "N/A" if epoch_s is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_s))


def scancel():
    failed = False
    for word in sys.argv[1:]:
        if word.isdigit() and not cancel(int(word)):
            sys.stderr.write(f"scancel: error: Kill job error on job id {word}: Invalid job id specified\n")
            failed = True
    sys.exit(int(failed))


def cancel(job_id):
    with locked():
        job = read(job_id) if job_id in ids() else {"state": ""}
        if job["state"] not in ACTIVE:
            return False
        ran = job["state"] == "RUNNING"
        write(job | {"state": "CANCELLED", "code": int(signal.SIGTERM) if ran else 0, "finished": int(time.time())})
        pid = JOBS / str(job_id) / "pid"
        if pid.exists():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)
    return True


def sacct():
    sys.stderr.write("Slurm accounting storage is disabled\n")
    sys.exit(1)


def scontrol():
    say("slurm-wlm 22.05.8" if "--version" in sys.argv else "Slurmctld(primary) at fake is UP")


NAME = sys.argv.pop(1)
if NAME != "srun" and not CONF.exists():
    fail("error: Unable to contact slurm controller (connect failure)")
globals()[NAME]()

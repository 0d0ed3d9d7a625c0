"""The fake's one program; what it does is said by the name it is called by.

A job is a folder ``jobs/ID`` beside the configuration, with a file ``job``, replaced atomically under one lock. Its
processes are those of one session, whose first one waits for the script and writes down the end.

Tests start these programs by the hundred, so they import only what is built into Python or made in C: json, pathlib and
subprocess would take three times as long as everything else.
"""

import _signal  # without the enums of `signal`
import fcntl
import marshal
import os
import sys
import time

CONF = os.environ.get("SLURM_CONF", "/nonexistent")
JOBS = f"{os.path.dirname(CONF)}/jobs"
ACTIVE = ("PENDING", "RUNNING", "COMPLETING")
NO_OUTPUT = 53  # a real-time signal, which is Slurm's own number for an output that cannot be opened
CPUS_MAX, NODES_MAX, MEMORY_MAX_MIB = 2, 4, 24000


def fail(text: str) -> None:
    sys.stderr.write(f"{NAME}: {text}\n")
    sys.exit(1)


def say(line) -> None:
    sys.stdout.write(f"{line}\n")


def locked():
    """Return the lock of the cluster, which a ``with`` gives back."""
    lock = open(f"{os.path.dirname(CONF)}/lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.makedirs(JOBS, exist_ok=True)
    return lock


def read(job_id):
    with open(f"{JOBS}/{job_id}/job", "rb") as file:
        return marshal.load(file)


def write(job):
    fresh = f"{JOBS}/{job['id']}/fresh.{os.getpid()}"
    with open(fresh, "wb") as file:
        marshal.dump(job, file)
    os.rename(fresh, f"{JOBS}/{job['id']}/job")


def ids():
    names = os.listdir(JOBS) if os.path.exists(JOBS) else []
    return sorted(int(name) for name in names if os.path.exists(f"{JOBS}/{name}/job"))


def kill(job_id):
    """End what has been started of a job, if anything has and has not ended: its number may be another's by then."""
    try:
        with open(f"{JOBS}/{job_id}/pid") as file:
            os.unlink(file.name)
            os.killpg(int(file.read()), _signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return


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
        os.mkdir(f"{JOBS}/{job_id}")
        with open(f"{JOBS}/{job_id}/script", "w") as script:
            script.write(sys.stdin.read())
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
        with open(f"{JOBS}/{job_id}/pid", "w") as file:
            file.write(str(os.getpid()))
        write(job)
    script = os.fork()
    if not script:
        try:
            output = os.open(job["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError:
            os.kill(os.getpid(), NO_OUTPUT)
        for fd in (1, 2):
            os.dup2(output, fd)
        os.chdir(job["cwd"])
        env = job["env"] | {"SLURM_JOB_ID": str(job_id), "SLURM_CONF": CONF}
        os.execve("/bin/bash", ["/bin/bash", f"{JOBS}/{job_id}/script"], env)
    state, code = outcome(script, job["limit_s"])
    with locked():
        job = read(job_id)
        if job["state"] == "RUNNING":
            write(job | {"state": state, "code": code, "finished": int(time.time()), "reason": reason(state, code)})
            os.unlink(f"{JOBS}/{job_id}/pid")
    os.killpg(0, _signal.SIGKILL)


def outcome(script, limit_s):
    """Wait for a process; return the job's state and, as Slurm does, the status of ``wait``."""
    if limit_s is None:
        status = os.waitpid(script, 0)[1]
    else:
        end_s = time.monotonic() + limit_s
        while not (ended := os.waitpid(script, os.WNOHANG))[0]:
            if time.monotonic() > end_s:
                return "TIMEOUT", _signal.SIGTERM
            time.sleep(0.01)
        status = ended[1]
    code = os.waitstatus_to_exitcode(status)
    return ("FAILED" if code else "COMPLETED"), -code if code < 0 else code << 8


def reason(state, code):
    return {"TIMEOUT": "TimeLimit", "COMPLETED": "None"}.get(
        state, "NonZeroExitCode" if code >= 256 else "JobLaunchFailure"
    )


def srun():
    command = sys.argv[next(at for at, word in enumerate(sys.argv[1:], 1) if not word.startswith("--")) :]
    envs = [{**os.environ, "SLURM_PROCID": str(task)} for task in range(int(options()["ntasks"]))]
    tasks = [os.spawnvpe(os.P_NOWAIT, command[0], command, env) for env in envs]
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(task, 0)[1]) for task in tasks))


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
            "TimeLimit": "UNLIMITED" if job["limit_s"] is None else f"{job['limit_s']}:00",
            "UserName": "fake",
            "SubmitTime": shown(job["submitted"]),
            # Of a job that was cancelled in the queue it is the time of that.
            "StartTime": shown(job["started"] or job["finished"]),
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
        write(job | {"state": "CANCELLED", "code": _signal.SIGTERM if ran else 0, "finished": int(time.time())})
        kill(job_id)
    return True


def sacct():
    sys.stderr.write("Slurm accounting storage is disabled\n")
    sys.exit(1)


def scontrol():
    say("slurm-wlm 22.05.8" if "--version" in sys.argv else "Slurmctld(primary) at fake is UP")


NAME = sys.argv.pop(1)
_signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # Python ignores it, and who is started would, too
if NAME != "srun" and not os.path.exists(CONF):
    fail("error: Unable to contact slurm controller (connect failure)")
globals()[NAME]()

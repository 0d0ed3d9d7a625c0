"""What Slurm's errors mean, by their texts: recorded from a real one (``tests/recorded/slurm``) or in its sources.

https://github.com/SchedMD/slurm/blob/slurm-22.05/src/common/slurm_errno.c
"""

from pman_core.errors import BackendError, Rejected, Unavailable, Unparseable

NOT_NOW = (
    "Unable to contact slurm controller",
    "Unable to contact slurmctld",
    "Socket timed out on send/recv operation",
    "Zero Bytes were transmitted or received",
    "Connection refused",
    "Connection timed out",
    "Connection reset by peer",
    "No route to host",
    "Unable to establish",
    "Transport endpoint is not connected",
    "Message receive failure",
    "Insane message length",
    "Slurm temporarily unable to accept job",
    "Slurm backup controller in standby mode",
    "Slurmctld is in standby",
    "Too many jobs",
    "MaxJobCount",
    "Rate limit exceeded",
    "Resource temporarily unavailable",
    "temporarily unavailable",
    "Job submission disabled",
    "Protocol authentication error",
    "authentication error",
    "Munge encode failed",
    "Munge decode failed",
    "Failed to access the munge",
    "Unable to connect to database",
    "Unable to process configuration file",
    "Only one instance of this program",
    "I/O error writing script/environment to file",
    "MaxSubmitJob",
    "MaxSubmitPU",
    "Access/permission denied",
    "Requested operation is presently disabled",
    "Required partition not available",
    "Job credential revoked",
    "Invalid job credential",
    "is not in service",
    "Slurm database daemon",
    "slurm_persist_conn_open",
    "Sending PersistInit msg",
)
"""Slurm, or what it stands on, cannot answer now. Limits on submitted jobs pass, too, and what is closed is opened."""

NEVER = (
    "Invalid generic resource (gres) specification",
    "Requested node configuration is not available",
    "More processors requested than permitted",
    "Memory specification can not be satisfied",
    "invalid partition specified",
    "Invalid partition name specified",
    "Requested partition configuration not available now",
    "Requested time limit is invalid",
    "Invalid feature specification",
    "Invalid account or account/partition combination specified",
    "Invalid qos specification",
    "Invalid qos",
    "User's group not permitted to use this partition",
    "Job violates accounting/QOS policy",
    "Requested reservation is invalid",
    "Requested node count",
    "Node count specification invalid",
    "Invalid node name specified",
    "Invalid wckey specification",
    "Invalid license specification",
    "Pathname of a file, directory or other parameter too long",
    "Batch script is empty",
    "Job size specification",
    "CPU count specification invalid",
    "CPU count per node can not be satisfied",
    "Invalid user id",
    "unrecognized option",
    "Invalid --",
    "invalid option",
    "Invalid numeric value",
)
"""The same order would always be refused."""

NO_ACCOUNTING = (
    "Slurm accounting storage is disabled",
    "accounting_storage/none",
)

OVER = ("Invalid job id specified", "Job/step already completing or completed", "Job has already finished")
"""There is nothing to cancel any more."""


def is_over(line: str) -> bool:
    """Whether a line of scancel says that the job has ended, or is not known."""
    return any(known in line for known in OVER)


def error_from(command: str, text: str) -> BackendError:
    """Return the error that ``text``, what ``command`` has said, stands for; an unknown text is Unparseable.

    A text that says both (a limit on submitted jobs is told in two lines) means "not now".
    """
    said = one_line(text)
    if any(known in text for known in NOT_NOW):
        return Unavailable(f"Slurm: {said}")
    if any(known in text for known in NEVER):
        return Rejected(f"Slurm: {said}")
    return Unparseable(f"{command} failed in an unknown way: {said}", text)


def one_line(text: str) -> str:
    """Return the lines of an error without what each begins with: ``sbatch: error:``."""
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(line.split("error: ", 1)[-1] for line in lines if line) or "no word of what is wrong"

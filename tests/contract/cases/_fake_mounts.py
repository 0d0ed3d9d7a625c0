"""What cases of fakes share whose containers mount nothing: variables tell a job what would be mounted where."""

from pathlib import Path

from cases import BackendCase
from pman_core.job import JobSpec


class FakeMounts(BackendCase):
    """A case whose jobs run as processes of this machine."""

    def alive(self, spec: JobSpec) -> bool:
        """A process belongs to the job if it has been told of the job's output folder."""
        told = f"FAKE_MOUNT__share_outgoing={self.output(spec).resolve()}".encode()
        return any(told in _environment(process).split(b"\0") for process in Path("/proc").glob("[0-9]*"))

    def allocate(self, mib: int) -> None:  # type: ignore[override]
        """Memory is not limited here."""

    def write_incoming(self) -> None:  # type: ignore[override]
        """Nothing is read-only here."""


def _environment(process: Path) -> bytes:
    """Return the variables of a process; of a zombie, and of one that has gone, there are none."""
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""

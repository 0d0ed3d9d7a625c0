"""The two folders of a job below a store base that pman sees. For every backend that mounts them."""

from pathlib import Path

from pman_core.job import JobSpec
from pman_core.storage import resolve_beneath


def prepare_folders(base: Path, spec: JobSpec, owner: tuple[int, int] | None) -> tuple[Path, Path]:
    """Return the two real folders of a job below ``base``. A job without input is shown an empty one.

    Raises:
        Rejected, Unavailable: see :func:`pman_core.storage.resolve_beneath`.
    """
    without_input = spec.request.type != "ds"
    incoming = resolve_beneath(base, spec.request.input_dir, "input_dir", create=without_input, owner=owner)
    return incoming, resolve_beneath(base, spec.request.output_dir, "output_dir", create=True, owner=owner)

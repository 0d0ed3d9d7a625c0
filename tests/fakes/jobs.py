"""The smallest job and the smallest mock that a test can do with."""

from pathlib import Path
from typing import TypeVar

from backends.mock import MockBackend, MockSettings
from pman_core.job import JobSpec, mint_generation
from pman_core.request import JobRequest
from pman_core.settings import Settings

Mock = TypeVar("Mock", bound=MockBackend)


def new_mock(kind: type[Mock], folder: Path) -> Mock:
    """Return a mock, or a variant of it, that is not open; ``folder`` is its scheduler and its store base."""
    return kind(Settings(storebase=folder, container_env="mock"), MockSettings(mock_dir=folder))


def mock_job(*env: str, jid: str = "job") -> JobSpec:
    """Return a new job whose environment is its script."""
    request = JobRequest(
        jid=jid,
        auid="unit",
        number_of_workers=1,
        cpu_limit=1,
        memory_limit=1,
        gpu_limit=0,
        image="x",
        entrypoint=("mock",),
        type="fs",
        input_dir="in",
        output_dir="out",
        env=env,
    )
    return JobSpec(mint_generation(), "pman", request)

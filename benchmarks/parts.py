"""Parts of a system that a benchmark uses in its own process: the settings, the scheduler, the clocks of processes."""

from collections.abc import Callable
from pathlib import Path

import psutil

from backends.mock import MockBackend, MockSettings
from pman_core.settings import Settings, load_settings
from testbed.system import System


def settings_of(system: System, instance: str = "") -> Settings:
    """Return what the processes of ``system`` read from their environment, or those of another ``instance``."""
    overrides = {name.lower(): value for name, value in system.env.items()}
    return load_settings(**overrides | ({"pman_instance": instance} if instance else {}))


def open_mock(system: System) -> MockBackend:
    """Return the scheduler of ``system``."""
    backend = MockBackend(settings_of(system), MockSettings(mock_dir=Path(system.env["MOCK_DIR"])))
    backend.open()
    return backend


def cpu_clock(pid: int) -> Callable[[], float]:
    """Return a clock of the processor time, in s, of a process and its children."""
    root = psutil.Process(pid)

    def cpu_s() -> float:
        times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    return cpu_s

"""A wall clock that jumps while a process runs: libfaketime, preloaded. Only CLOCK_REALTIME is false, as in life.

The monotonic clock and the boot clock go on, also for what waits on them; so does the clock of every other process.
"""

from importlib.util import find_spec
from pathlib import Path


class FalseClock:
    """The wall clock of all processes that are started with ``env``; right until it is told to :meth:`jump`."""

    def __init__(self, path: Path) -> None:
        spec = find_spec("libfaketime")
        if spec is None or spec.origin is None:
            raise ImportError("libfaketime is not installed")
        self._path = path
        library = Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
        self.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.jump(0)

    def jump(self, offset_s: int) -> None:
        """Be so far ahead of the true time (negative: behind it) from now on."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}\n")
        fresh.replace(self._path)

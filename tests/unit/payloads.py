"""One request for all backends whose payloads are compared as a whole, and how they are."""

import json
import os
from pathlib import Path
from typing import Any

GENERATION = "01jzzzzzzzzzzzzzzzzzzzzzzz"


def request(argument: str, *env: str) -> dict[str, Any]:
    """Return a body with what a scheduler might take for a template in an argument and in the variables."""
    return {
        "jid": "chris-jid-4",
        "auid": "cube",
        "number_of_workers": 1,
        "cpu_limit": 1500,
        "memory_limit": 300,
        "gpu_limit": 0,
        "image": "fnndsc/pl-simplefsapp",
        "entrypoint": ["python3", "/usr/local/bin/simplefsapp"],
        "args": ["--dir", argument],
        "type": "ds",
        "env": list(env),
        "input_dir": "job/in",
        "output_dir": "job/out",
    }


def check_golden(path: Path, made: object) -> None:
    """Compare a payload with its file, which REWRITE_GOLDEN=yes writes anew."""
    text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("REWRITE_GOLDEN") == "yes":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()

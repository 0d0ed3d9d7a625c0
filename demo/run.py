"""``make demo``: starts pman with an empty store, sends one real job through its API, shows what came out, stops all.

Nothing is left behind: everything lives in one temporary folder, and the last step looks for processes that use it.
"""

import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table
from samples import write_slices

PMAN = Path(sys.executable).with_name("pman")
JOB = Path(__file__).with_name("montage.py").resolve()
SLICES = 9
START_TIMEOUT_S = 150
STOP_TIMEOUT_S = 60
SHADES = " .:-=+*#%@"
PICTURE_COLUMNS = 72

console = Console(highlight=False)


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pman-demo-") as folder:
        state = Path(folder)
        write_slices(state / "store" / "demo" / "incoming", SLICES)
        console.rule("pman up: API, worker, observer and an embedded Redis")
        with (state / "up.log").open("w") as log:
            command = [str(PMAN), "up", "--port", "0", "--any-image", "--state", str(state)]
            up = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        code = 1
        try:
            if url := wait_for_note(up, state):
                console.print(f"ready after {time.monotonic() - began:.1f} s at {url}")
                code = run_job(url)
            if code == 0:
                show_output(state / "store" / "demo" / "outgoing")
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(STOP_TIMEOUT_S)
        if code:
            console.rule("it failed; what pman up said")
            console.print((state / "up.log").read_text(), markup=False, soft_wrap=True)
        left = processes_of(state)
        console.rule()
        console.print(f"pman up ended with {up.returncode}; processes left: {left or 'none'}")
    console.print(f"the demo took {time.monotonic() - began:.1f} s")
    return code or up.returncode or bool(left)


def wait_for_note(up: subprocess.Popen[bytes], state: Path) -> str:
    """Return the URL that ``pman up`` writes down as soon as it is ready; none if it does not come up."""
    note = state / "up.json"
    until = time.monotonic() + START_TIMEOUT_S
    while not note.exists():
        if up.poll() is not None or time.monotonic() > until:
            return ""
        time.sleep(0.05)
    return str(json.loads(note.read_text())["url"])


def run_job(url: str) -> int:
    folders = ["--input", "demo/incoming", "--output", "demo/outgoing"]
    command = [
        "run",
        "--url",
        url,
        "--keep",
        "--jid",
        "demo",
        *folders,
        "local/montage",
        "--",
        sys.executable,
        str(JOB),
    ]
    console.rule("pman run: the job, live")
    code = subprocess.run([PMAN, *command], check=False, stderr=subprocess.STDOUT).returncode
    console.rule("pman status: its record")
    subprocess.run([PMAN, "status", "--url", url, "demo"], check=True)
    return code


def show_output(outgoing: Path) -> None:
    console.rule("its output files")
    for path in sorted(outgoing.iterdir()):
        console.print(f"{path.stat().st_size:>8} bytes  {path.name}")
    with (outgoing / "stats.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    table = Table(*header, box=None, title="stats.csv")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    with Image.open(outgoing / "montage.png") as image:
        # A character is twice as high as wide.
        lines = PICTURE_COLUMNS * image.height // image.width // 2
        small = image.resize((PICTURE_COLUMNS, lines))
        shades = [SHADES[value * len(SHADES) // 256] for value in small.tobytes()]
    for line in range(lines):
        console.print("".join(shades[line * PICTURE_COLUMNS :][:PICTURE_COLUMNS]), markup=False)


def processes_of(state: Path) -> list[str]:
    """Return the pids of all processes whose environment names the demo's folder (Linux; elsewhere none is found)."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(state).encode() in environ.read_bytes():
                found.append(environ.parent.name)
        except OSError:  # not ours, or gone
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())

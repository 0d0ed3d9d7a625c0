"""The first hour of docs/slurm.md and docs/cromwell.md, taken as it is printed on a real Slurm, up to the first job.

What is this machine's own is put in the place of what a page has: a folder for /shared, this checkout and its Python
for those of the service account, a fake Cromwell for the jar.
"""

import getpass
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from testbed.ports import free_port
from testbed.system import wait_for
from tests.engines.jobs import PATIENCE_S
from tests.engines.slurm import IMAGES, instance_of, need_slurm, shared_folder
from tests.engines.slurm_cromwell import site_in
from tests.fakes.cromwell import FakeCromwell

pytestmark = [pytest.mark.e2e, pytest.mark.slurm, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
STATE = re.compile(r"^\d\d:\d\d:\d\d ([A-Z]+)\b")


class Page:
    """The section of the first steps."""

    def __init__(self, name: str, places: Mapping[str, str]) -> None:
        text = (ROOT / "docs" / name).read_text()
        section = text.partition("## From zero to the first job")[2].partition("\n## ")[0]
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        self.steps = [_put(block, places) for language, block in blocks if language == "sh"]
        self.shown = [block for language, block in blocks if not language]

    def lines(self, beginning: str) -> list[str]:
        return [line for step in self.steps for line in step.splitlines() if line.startswith(beginning)]


def _put(text: str, places: Mapping[str, str]) -> str:
    for what, place in places.items():
        text = text.replace(what, place)
    return text


class Account:
    """Who follows a page: terminals in the folder of pman, with what the page exports."""

    def __init__(self, folder: Path, page: Page, **env: str) -> None:
        self.folder, self._exports = folder, "\n".join(page.lines("export "))
        self._port = free_port()
        self._env = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "PMAN_INSTANCE": instance_of(folder),
            "PMAN_URL": f"http://127.0.0.1:{self._port}",
        } | env

    def run(self, command: str) -> list[str]:
        """Run a command to its end; return the lines that it printed, to stderr, too."""
        done = self._run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout.splitlines()

    def succeeds(self, command: str) -> bool:
        return self._run(command).returncode == 0

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        argv = ["bash", "-ec", f"{self._exports}\n{command}"]
        return subprocess.run(
            argv, cwd=self.folder, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    @contextmanager
    def up(self) -> Iterator[None]:
        log = self.folder / "up.log"
        argv = ["bash", "-ec", f"{self._exports}\nexec pman up --port {self._port}"]
        with log.open("w") as output:
            up = subprocess.Popen(argv, cwd=self.folder, env=self._env, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for("pman is ready", lambda: "pman is ready" in log.read_text() or up.poll() is not None, PATIENCE_S)
            assert requests.get(f"{self._env['PMAN_URL']}/api/v1/", timeout=10).ok
            yield
        finally:
            print(log.read_text())  # noqa: T201 - pytest shows it if the test fails
            up.send_signal(signal.SIGTERM)
            up.wait(PATIENCE_S)


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    need_slurm(request)
    with shared_folder() as folder:
        yield folder


def first_job(account: Account, page: Page) -> list[str]:
    """Take the last step with pman up; return what the job said, and see to it that it ended well."""
    assert "pman up" in page.steps[-2]
    doctor, job = page.steps[-1].splitlines()
    with account.up():
        # Its workers and its observer may be some seconds later than its API.
        wait_for("all is well", lambda: account.succeeds(doctor), PATIENCE_S)
        said = account.run(job)
    states = [found[1] for found in map(STATE.match, said) if found]
    assert states[-1] == "SUCCEEDED", said
    (answer,) = (account.folder / "chris").rglob("answer")
    assert answer.read_text() == "42\n"
    return [line for line in said if not STATE.match(line)]


def check_extras(page: Page) -> None:
    """What the page installs is there to be installed."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [extras.split(",") for extras in re.findall(r"pip install '\.\[([\w,]+)\]'", "\n".join(page.steps))]
    assert wanted
    assert {extra for extras in wanted for extra in extras} <= known.keys()


def make_folders(account: Account, page: Page, owner: str) -> None:
    made = page.lines("install -d")
    assert made
    for line in made:
        account.run(line.replace(f"-o {owner} -g {owner} ", ""))


def test_the_page_of_slurm_leads_to_a_first_job(folder: Path) -> None:
    page = Page("slurm.md", {"/shared": str(folder), "~pman/pman": str(ROOT)})
    account = Account(folder, page)
    check_extras(page)
    make_folders(account, page, "pman")
    (make_image,) = page.lines(f"python3 {ROOT}")
    account.run(make_image)
    said = first_job(account, page)
    (shown,) = page.shown
    words = [line for line in shown.splitlines() if not STATE.match(line)]
    assert said == [line.replace("it is pman", f"it is {getpass.getuser()}") for line in words]


def test_the_page_of_cromwell_leads_to_a_first_job(folder: Path) -> None:
    with FakeCromwell(folder / "server", site_in(folder)) as cromwell:
        places = {
            "/shared": str(folder),
            "/var/lib/cromwell": str(folder / "db"),
            "http://127.0.0.1:8000": cromwell.url,
        }
        page = Page("cromwell.md", places)
        (folder / "images").mkdir()
        (folder / "images/busybox.tar").write_bytes((IMAGES / "busybox.tar").read_bytes())
        account = Account(folder, page, HPC_IMAGES=str(folder / "images"))
        check_extras(page)
        make_folders(account, page, "chris")
        assert len(first_job(account, page)) == 1

"""Which cluster ``testbed/kube/up.sh`` takes: one's own, then kind, then k3s, then the kit. Its programs are stubs."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive  # starts many programs

UP = Path(__file__).parents[2] / "testbed" / "kube" / "up.sh"
IMAGE = "docker.io/library/busybox:test"
NODES = f'case "$*" in *images*) echo {IMAGE};; esac'
STUBS = {
    "kubectl": f'case "$*" in *absent*) exit 1;; esac; {NODES}',
    "id": "echo 0",
    "kind": "echo pman",
    "k3s": f'case "$*" in *ctr*) echo {IMAGE};; *) {NODES};; esac',
    "kube-ctr": f"echo {IMAGE}",
}


class Machine:
    """A folder with programs, and what the script needs of the system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bin = folder / "bin"
        self._bin.mkdir()
        (folder / "home").mkdir()
        for name in ("bash", "cat", "dirname", "grep", "mkdir", "realpath", "rm", "seq", "sleep"):
            (self._bin / name).symlink_to(f"/usr/bin/{name}")
        self.install("kubectl", "id")

    def install(self, *names: str) -> None:
        for name in names:
            program = self._bin / name
            program.write_text(f"#!/bin/bash\n{STUBS[name]}\n")
            program.chmod(0o755)

    def access(self, name: str) -> str:
        path = self._folder / "home" / f"{name}.kubeconfig"
        path.write_text("access")
        return str(path)

    def install_kit(self) -> None:
        self.install("kube-ctr")
        kit = self._folder / "kit"
        kit.mkdir()
        (kit / "kubekit.xz").write_text("a binary")
        (kit / "kube-up.sh").write_text('#!/bin/bash\necho access > "$KUBE_HOME/admin.kubeconfig"\n')
        (kit / "kube-up.sh").chmod(0o755)

    def up(self, **env: str) -> "subprocess.CompletedProcess[str]":
        env |= {"PATH": str(self._bin), "KUBE_HOME": str(self._folder / "home"), "KUBE_KIT": str(self._folder / "kit")}
        return subprocess.run([UP], env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def said(done: "subprocess.CompletedProcess[str]") -> str:
    return done.stdout + done.stderr


def test_ones_own_comes_first(machine: Machine, tmp_path: Path) -> None:
    machine.install("kind", "k3s")
    machine.install_kit()
    own = tmp_path / "own"
    own.write_text("access")
    assert "ready, own: export KUBECONFIG=" in said(machine.up(KUBECONFIG=str(own)))


def test_one_that_does_not_answer_is_passed_by(machine: Machine, tmp_path: Path) -> None:
    machine.install("kind", "k3s")
    machine.install_kit()
    absent, access = tmp_path / "absent", machine.access("kind")
    absent.write_text("access")
    told = said(machine.up(KUBECONFIG=str(absent)))
    assert "no cluster answers" in told
    assert f"ready, kind: export KUBECONFIG={access}" in told


def test_k3s_comes_after_kind(machine: Machine) -> None:
    machine.install("k3s")
    machine.install_kit()
    access = machine.access("k3s")
    assert f"ready, k3s: export KUBECONFIG={access}" in said(machine.up())


def test_the_kit_comes_last(machine: Machine) -> None:
    machine.install_kit()
    assert "ready, kit: export KUBECONFIG=" in said(machine.up())


def test_without_any_it_says_what_is_wanted(machine: Machine) -> None:
    done = machine.up()
    assert done.returncode != 0
    assert "set KUBECONFIG, or install kind or k3s, or set KUBE_KIT" in said(done)

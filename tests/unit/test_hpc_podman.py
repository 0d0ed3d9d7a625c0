"""Podman on the nodes: the launcher pulls the image before the command begins, and says so; on a fake podman."""

from pathlib import Path

import pytest

from backends._hpc.launcher import OWN_FAULT
from backends._hpc.outcome import Verdict
from backends._hpc.runtime import container_name
from backends._slurm.start import why_not_begun
from pman_core.job import JobSpec
from pman_core.states import Reason, State
from testbed.system import PATIENCE_S, wait_for
from tests.unit.hpc_harness import Node

IMAGE = "case/image:1"
FAKE = """#!/bin/sh
cd {folder} || exit 125
echo "$1" >> calls
echo "$*" > "$1"
case $1 in
image)
  while test -e hang; do sleep 0.02; done
  test -e broken && {{ echo "Error: creating runtime static files directory: no space left on device" >&2; exit 125; }}
  test -e stored ;;
pull)
  test -e refuse && {{ echo "Error: initializing source docker://{image}: manifest unknown" >&2; exit 125; }}
  until test -e go; do sleep 0.02; done
  touch stored ;;
run)
  until test "$1" = {image}; do shift; done
  shift
  echo $$ > running
  exec "$@" ;;
kill)
  kill -KILL "$(cat running)" ;;
esac
"""


class Podman:
    """One podman on all nodes: it stores one image, once it may ``go``, or refuses it."""

    def __init__(self, folder: Path, bash: str) -> None:
        self._folder, self._bash = folder, bash
        self.said = folder / "podman"
        self.said.mkdir()
        program = folder / "bin/podman"
        program.parent.mkdir()
        program.write_text(FAKE.format(folder=self.said, image=IMAGE))
        program.chmod(0o755)

    def note(self, what: str) -> None:
        (self.said / what).touch()

    def asked(self) -> list[str]:
        return (self.said / "calls").read_text().split()

    def is_asked(self) -> bool:
        return (self.said / "calls").exists()

    def words(self, call: str) -> list[str]:
        return (self.said / call).read_text().split()

    def node(self, **own: object) -> Node:
        path = f"{self._folder}/bin:/usr/bin:/bin"
        return Node(self._folder, self._bash, hpc_runtime="podman", hpc_path=path, **own)


@pytest.fixture
def podman(tmp_path: Path, bash: str) -> Podman:
    return Podman(tmp_path, bash)


def waits_for(node: Node, spec: JobSpec) -> str:
    return why_not_begun(node.control.folder(spec.generation), "n1")


def test_a_job_waits_while_its_image_is_pulled_and_says_so(podman: Podman) -> None:
    node = podman.node()
    spec, next_one = node.prepare("sh", "-c", "exit 3"), node.prepare("true", jid="next")
    launcher = node.start(spec)
    wait_for("it is pulled", lambda: waits_for(node, spec) == f"fetching image {IMAGE} on n1")
    podman.note("go")
    launcher.communicate(timeout=PATIENCE_S)
    assert node.end(spec) == ("exited", 3, "")
    assert waits_for(node, spec) == ""
    assert node.run(next_one) == 0
    assert podman.asked() == ["image", "pull", "run", "image", "run"]


def test_an_image_that_cannot_be_pulled_fails_the_job_in_podmans_words(podman: Podman) -> None:
    podman.note("refuse")
    node = podman.node()
    spec = node.prepare("true")
    assert node.run(spec) == OWN_FAULT
    cause, code, text = node.end(spec)
    assert (cause, code) == ("image_pull", None)
    assert "manifest unknown" in text


@pytest.mark.parametrize(
    ("policy", "is_stored", "calls"),
    [
        ("always", True, ["image", "pull", "run"]),
        ("missing", True, ["image", "run"]),
        ("never", True, ["image", "run"]),
        ("never", False, ["image"]),
    ],
)
def test_the_policy_says_whether_it_is_pulled(podman: Podman, policy: str, is_stored: bool, calls: list[str]) -> None:
    podman.note("go")
    if is_stored:
        podman.note("stored")
    node = podman.node(image_pull_policy=policy)
    spec = node.prepare("true")
    assert node.run(spec) == (0 if is_stored else OWN_FAULT)
    assert podman.asked() == calls
    if not is_stored:
        assert node.end(spec)[0] == "image_pull"
        assert "IMAGE_PULL_POLICY is never" in node.end(spec)[2]


def test_a_podman_that_cannot_say_whether_it_has_the_image_is_quoted(podman: Podman) -> None:
    podman.note("broken")
    node = podman.node(image_pull_policy="never")
    spec = node.prepare("true")
    assert node.run(spec) == OWN_FAULT
    cause, _, text = node.end(spec)
    assert cause == "image_pull"
    assert "no space left on device" in text


def test_the_sites_options_that_are_about_the_registry_are_given_to_the_pull_too(podman: Podman) -> None:
    podman.note("go")
    options = "--tls-verify=false --userns=keep-id --authfile /etc/auth.json --arch=arm64 --tls-verify --pids-limit 9"
    node = podman.node(hpc_runtime_options=options)
    assert node.run(node.prepare("true")) == 0
    wanted = ["--tls-verify=false", "--authfile", "/etc/auth.json", "--arch=arm64", "--tls-verify"]
    assert podman.words("pull") == ["pull", "--quiet", *wanted, IMAGE]
    assert " ".join(podman.words("run")).count(options) == 1


def test_a_job_is_told_which_gpus_of_the_node_are_its_own(podman: Podman) -> None:
    podman.note("stored")
    node = podman.node()
    spec = node.prepare("sh", "-c", 'printf %s "$CUDA_VISIBLE_DEVICES"', gpu_limit=1)
    node.start(spec, CUDA_VISIBLE_DEVICES="3").communicate(timeout=PATIENCE_S)
    assert node.log(spec) == "3"
    assert "--env=CUDA_VISIBLE_DEVICES" in podman.words("run")


@pytest.mark.exhaustive  # it waits for the launcher to look again
def test_a_job_that_is_over_waits_for_no_podman_that_hangs(podman: Podman) -> None:
    podman.note("hang")
    node = podman.node()
    spec = node.prepare("true")
    launcher = node.start(spec)
    wait_for("podman is asked", podman.is_asked)
    node.control.put_verdict(spec.generation, Verdict(State.CANCELLED, Reason.CANCELLED))
    launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == OWN_FAULT
    assert set(podman.asked()) <= {"image", "kill"}, "neither pulled nor run; to kill what never began does no harm"


@pytest.mark.exhaustive  # it waits for the launcher to look again
def test_a_pull_of_a_job_that_is_over_is_ended_and_the_job_never_begins(podman: Podman) -> None:
    node = podman.node()
    spec = node.prepare("true")
    launcher = node.start(spec)
    wait_for("it is pulled", lambda: waits_for(node, spec).startswith("fetching"))
    node.control.put_verdict(spec.generation, Verdict(State.CANCELLED, Reason.CANCELLED))
    launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == OWN_FAULT
    assert node.end(spec)[0] == "start_failed"
    assert "run" not in podman.asked()


def test_a_container_is_killed_when_slurm_tells_its_job_to_end(podman: Podman) -> None:
    """It is no child of the launcher: ``scancel`` and a time limit reach the launcher alone."""
    podman.note("stored")
    node = podman.node()
    spec = node.prepare("sh", "-c", "exec sleep 600")
    launcher = node.start(spec)
    wait_for("its container runs", lambda: podman.said.joinpath("running").exists() and podman.words("running"))
    launcher.terminate()
    launcher.communicate(timeout=PATIENCE_S)
    assert podman.words("kill") == ["kill", container_name(spec)]
    assert (launcher.returncode, node.end(spec)) == (137, ("exited", 137, ""))

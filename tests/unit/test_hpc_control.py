"""The control folder: a name that is swept away is free as a whole or not at all, whatever comes in between."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from backends._hpc.control import Control
from tests.unit.hpc_harness import Node

NOW = float("inf")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, hpc_runtime="none", hpc_any_image=True)


def swept(control: Control) -> list[str]:
    """Sweep away what was removed; return what is still taken for a job."""
    return [folder.generation for folder in control.folders(sweep_before=NOW)]


def test_a_launcher_that_writes_while_its_folder_is_swept_leaves_nothing_behind(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does who slept over the fence, and finds his folder still there."""
    spec = node.prepare("true")
    folder = node.control.base / spec.generation
    node.control.mark_removed(spec.generation)
    node.control.entomb(spec.generation)
    remove_tree = shutil.rmtree

    def written_into_meanwhile(path: Any, *args: Any, **options: Any) -> None:
        if folder.is_dir():
            (folder / "removed").unlink()  # as rmtree does it, in an order of its own
            (folder / "end.7.0.n1.4711").mkdir()
            return
        remove_tree(path, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", written_into_meanwhile)
        swept(node.control)
    assert swept(node.control) == []
    assert not folder.exists()


def test_a_sweep_that_is_killed_leaves_no_name_without_its_tombstone(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = node.prepare("true")
    node.control.mark_removed(spec.generation)
    node.control.entomb(spec.generation)

    def killed(*_args: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", killed)
        with pytest.raises(KeyboardInterrupt):
            swept(node.control)
    assert swept(node.control) == []
    assert sorted(path.name for path in node.control.base.iterdir() if path.is_dir()) == []

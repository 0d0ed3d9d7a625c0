"""Backends are found by name without being imported: ours by their file, those of others by their entry point."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pman_core import registry
from pman_core.settings import load_settings

GOOD = """
from pman_core.backend import Backend, Capabilities

class Base(Backend):
    name = "theirs"
"""


class Elsewhere:
    """Somebody's installed package: modules and the entry points of its distribution."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._info = folder / "theirs-1.0.dist-info"
        self._info.mkdir()
        (self._info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")

    def provide(self, module: str, text: str, **names: str) -> None:
        (self.folder / f"{module}.py").write_text(text)
        entries = "".join(f"{name} = {value}\n" for name, value in names.items())
        (self._info / "entry_points.txt").write_text(f"[pman.backends]\n{entries}")
        registry.modules.cache_clear()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Elsewhere(tmp_path)
    registry.modules.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("theirs"):
            del sys.modules[name]


def test_our_backends_are_the_public_modules_of_the_package() -> None:
    names = registry.names()
    assert {"mock", "process"} <= set(names)
    assert list(names) == sorted(names)
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize("name", ["mock", "process"])
def test_a_backend_carries_the_name_of_its_module(name: str) -> None:
    assert registry.load_class(name).name == name


def test_a_backend_of_another_package_is_found_and_loaded(elsewhere: Elsewhere) -> None:
    elsewhere.provide("theirs_cluster", GOOD, theirs="theirs_cluster")
    assert "theirs" in registry.names()
    assert "theirs_cluster" not in sys.modules
    assert load_settings(container_env="theirs", storebase="/store").container_env == "theirs"
    assert "theirs_cluster" not in sys.modules
    found = registry.load_class("theirs")
    assert (found.__module__, found.name) == ("theirs_cluster", "theirs")


def test_nobody_replaces_one_of_our_backends(elsewhere: Elsewhere) -> None:
    elsewhere.provide("theirs_mock", GOOD, mock="theirs_mock")
    assert registry.load_class("mock").__module__ == "backends.mock"


def test_which_backends_need_a_worker_for_images(elsewhere: Elsewhere) -> None:
    assert registry.pulls_images("mock")
    assert not registry.pulls_images("process")
    elsewhere.provide("theirs_lacking", "import theirs_no_such_sdk\n", theirs="theirs_lacking")
    assert not registry.pulls_images("theirs"), "its worker will say what it lacks"


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        registry.load_class("no-such-backend")


def test_a_missing_sdk_is_named_with_the_extra_that_brings_it(elsewhere: Elsewhere) -> None:
    elsewhere.provide("theirs_sdk", "import theirs_no_such_sdk\n", theirs="theirs_sdk")
    with pytest.raises(
        ImportError, match=r"'theirs' needs the package 'theirs_no_such_sdk': pip install 'pman\[theirs\]'"
    ):
        registry.load_class("theirs")


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("from pman_core.backend import Backend\n", 0), (GOOD + "\nclass Second(Base):\n    pass\n", 2)],
)
def test_a_module_has_exactly_one_backend(elsewhere: Elsewhere, text: str, count: int) -> None:
    elsewhere.provide(f"theirs_{count}", text, theirs=f"theirs_{count}")
    with pytest.raises(ImportError, match=f"exactly one subclass of Backend, it has {count}"):
        registry.load_class("theirs")

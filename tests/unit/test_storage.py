"""Storage resolution: nothing leaves the store base, whatever a job has left there."""

import errno
import os
from pathlib import Path

import pytest

from pman_core import storage
from pman_core.errors import Rejected, Unavailable
from pman_core.storage import resolve_beneath


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "a" / "in").mkdir(parents=True)
    (folder / "file").write_text("text")
    (tmp_path / "secret").mkdir()
    return folder


def test_an_existing_folder_is_returned_as_a_real_absolute_path(base: Path) -> None:
    assert resolve_beneath(base, "a/in", "input_dir") == base.resolve() / "a" / "in"


def test_empty_and_dot_components_do_not_matter(base: Path) -> None:
    assert resolve_beneath(base, "a//./in/", "input_dir") == base.resolve() / "a" / "in"


@pytest.mark.parametrize("path", ["", ".", "./", "..", "a/../..", "../secret", "a/../a/in", "/etc", "/"])
def test_a_spelling_that_leaves_the_base_is_rejected(base: Path, path: str) -> None:
    with pytest.raises(Rejected, match=r"output_dir: must name a folder below the store base"):
        resolve_beneath(base, path, "output_dir", create=True)


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("target", ["../secret", "a", "nowhere"])
def test_a_symlink_is_never_followed(base: Path, target: str, create: bool) -> None:
    (base / "link").symlink_to(target)
    for path, named in (("link", "link"), ("link/in", "link")):
        with pytest.raises(Rejected, match=rf"output_dir: '{named}' is a symbolic link"):
            resolve_beneath(base, path, "output_dir", create=create)
    assert not list((base.parent / "secret").iterdir())


def test_a_symlink_in_the_middle_is_named(base: Path) -> None:
    (base / "a" / "up").symlink_to(base.parent)
    with pytest.raises(Rejected, match="input_dir: 'a/up' is a symbolic link"):
        resolve_beneath(base, "a/up/secret", "input_dir")


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_file_is_no_folder(base: Path, path: str) -> None:
    with pytest.raises(Rejected, match="input_dir: 'file' is not a folder"):
        resolve_beneath(base, path, "input_dir")


def test_a_missing_input_is_rejected_by_name(base: Path) -> None:
    with pytest.raises(Rejected, match="input_dir: there is no folder 'a/missing' below the store base"):
        resolve_beneath(base, "a/missing/deep", "input_dir")
    assert not (base / "a" / "missing").exists()


def test_missing_folders_are_made_on_request(base: Path) -> None:
    made = resolve_beneath(base, "a/new/deep", "output_dir", create=True)
    assert made.is_dir()
    assert resolve_beneath(base, "a/new/deep", "output_dir", create=True) == made


def test_a_name_too_long_is_rejected(base: Path) -> None:
    with pytest.raises(Rejected, match="too long"):
        resolve_beneath(base, "x" * 300, "output_dir", create=True)


def test_the_store_base_itself_may_be_a_symlink(base: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(base)
    assert resolve_beneath(tmp_path / "alias", "a/in", "input_dir") == base.resolve() / "a" / "in"


def test_a_store_base_that_is_away_says_nothing_about_the_job(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="store base"):
        resolve_beneath(tmp_path / "unmounted", "a", "output_dir", create=True)


def test_a_file_system_that_does_not_answer_says_nothing_about_the_job(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*_: object, **__: object) -> tuple[int, bool]:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(storage, "_step", stale)
    with pytest.raises(Unavailable, match="cannot be opened now: Stale file handle"):
        resolve_beneath(base, "a/in", "input_dir")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_only_a_folder_that_was_made_is_given_to_its_owner(base: Path) -> None:
    made = resolve_beneath(base, "a/new/deep", "output_dir", create=True, owner=(1234, 2345))
    assert (made.stat().st_uid, made.stat().st_gid) == (1234, 2345)
    assert made.parent.stat().st_uid == 0
    assert resolve_beneath(base, "a/in", "output_dir", create=True, owner=(1234, 2345)).stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root is never denied")
def test_a_closed_folder_is_rejected(base: Path) -> None:
    (base / "a").chmod(0o000)
    with pytest.raises(Rejected, match="permission denied"):
        resolve_beneath(base, "a/in", "input_dir")


def test_no_file_descriptor_is_left_open(base: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    resolve_beneath(base, "a/in", "input_dir")
    for path in ("file/x", "a/missing", "../x"):
        with pytest.raises(Rejected):
            resolve_beneath(base, path, "input_dir")
    assert len(list(Path("/proc/self/fd").iterdir())) == before

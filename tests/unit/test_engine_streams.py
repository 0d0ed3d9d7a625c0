"""The engine's streams: frames of a log, and the progress of a pull."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends._engine.events import from_cursor, to_cursor
from backends._engine.logs import HEADER, end_of, frames
from backends._engine.pull import Progress
from pman_core.errors import Unavailable


def framed(*payloads: bytes) -> bytes:
    return b"".join(HEADER.pack(1 + number % 2, len(data)) + data for number, data in enumerate(payloads))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=10), st.integers(1, 20))
def test_frames_come_out_whole_however_they_arrive(payloads: list[bytes], size: int) -> None:
    stream = framed(*payloads)
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert list(frames(chunks)) == payloads


def test_what_is_cut_off_is_left_out() -> None:
    assert list(frames([framed(b"whole", b"cut off")[:-2]])) == [b"whole"]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30)), st.integers(1, 40))
def test_the_end_is_bounded_and_true(payloads: list[bytes], max_bytes: int) -> None:
    assert end_of(payloads, max_bytes) == b"".join(payloads)[-max_bytes:]


def test_an_endless_log_does_not_fill_the_memory() -> None:
    assert end_of(itertools.repeat(b"x" * 1000, 10_000), 10) == b"x" * 10


def test_progress_adds_up_the_layers() -> None:
    progress = Progress("repo/image:1")
    mib = 2**20
    assert (
        progress.take({"status": "Pulling from repo/image", "id": "1"})
        == "pulling repo/image:1: Pulling from repo/image"
    )
    for layer in ("a", "b"):
        progress.take({"status": "Pulling fs layer", "progressDetail": {}, "id": layer})
    progress.take({"status": "Downloading", "progressDetail": {"current": mib, "total": 4 * mib}, "id": "a"})
    text = progress.take({"status": "Downloading", "progressDetail": {"current": mib, "total": 2 * mib}, "id": "b"})
    assert text == "pulling repo/image:1: 2.0 of 6.0 MiB, 0 of 2 layers unpacked"
    text = progress.take({"status": "Download complete", "progressDetail": {}, "id": "b"})
    assert text == "pulling repo/image:1: 3.0 of 6.0 MiB, 0 of 2 layers unpacked"
    progress.take({"status": "Pull complete", "progressDetail": {}, "id": "b"})
    text = progress.take({"status": "Pull complete", "progressDetail": {}, "id": "a"})
    assert text == "pulling repo/image:1: 6.0 of 6.0 MiB, 2 of 2 layers unpacked"


def test_an_engine_without_sizes_is_quoted() -> None:
    assert Progress("image").take({"stream": "Copying blob sha256:abc\n"}) == "pulling image: Copying blob sha256:abc"


def test_cursors() -> None:
    assert from_cursor(to_cursor(1_795_568_020_900_874_602)) == 1_795_568_020_900_874_602
    with pytest.raises(Unavailable):
        from_cursor("of another backend")

"""The end of a log: bounded in lines and bytes, whole characters, nothing invented."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pman_core.log_tail import tail


@settings(deadline=None)
@given(output=st.binary(max_size=300), lines_max=st.integers(0, 20), bytes_max=st.integers(0, 100))
def test_a_tail_is_bounded_and_is_the_end(output: bytes, lines_max: int, bytes_max: int) -> None:
    text = tail(output, lines_max, bytes_max)
    assert len(text.encode()) <= bytes_max
    assert len(text.split("\n")) - text.endswith("\n") <= max(lines_max, 1)
    assert output.decode(errors="replace").endswith(text.lstrip("\ufffd"))


@pytest.mark.parametrize(
    ("end", "lines", "size", "expected"),
    [
        (b"", 10, 100, ""),
        (b"a\nb\nc\n", 2, 100, "b\nc\n"),
        (b"a\nb\nc", 2, 100, "b\nc"),
        (b"a\n\n\n", 2, 100, "\n\n"),
        (b"a\n", 9, 100, "a\n"),
        (b"\n", 1, 100, "\n"),
        (b"a\nb\n", 0, 100, ""),
        (b"abc", 10, 0, ""),
        (b"abcdef", 10, 3, "def"),
        ("aé".encode() * 3, 10, 4, "aé"),
        ("日本".encode(), 10, 4, "本"),
        ("🧠🧠".encode(), 10, 7, "🧠"),
        (b"\xff\xfe", 10, 100, "\ufffd\ufffd"),
        (b"\xff" * 9, 10, 9, "\ufffd" * 3),
        (b"\x80" * 9, 10, 6, "\ufffd\ufffd"),
        (b"one\rtwo\x85three\xe2\x80\xa8four\nlast", 2, 100, "one\rtwo\ufffdthree\u2028four\nlast"),
    ],
)
def test_the_end_of_a_log(end: bytes, lines: int, size: int, expected: str) -> None:
    assert tail(end, lines, size) == expected

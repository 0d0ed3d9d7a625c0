"""``logs`` returns the end of the output, bounded in lines and bytes, whatever the bytes are."""

import re
from contextlib import suppress

import pytest
from cases import LASTING_S, BackendCase, ref_of, seen, until

from pman_core.backend import Backend
from pman_core.errors import Unavailable
from pman_core.job import JobSpec
from pman_core.states import State

MANY = 1_000_000


def log_of(case: BackendCase, data: bytes, times: int = 1, lines: int = MANY, size: int = MANY) -> str:
    backend = case.make()
    spec = case.spec(case.say(data, times))
    backend.submit(spec)
    seen(backend, spec, State.SUCCEEDED, timeout_s=case.patience_s)

    def read() -> list[str]:
        """A busy scheduler may not bring megabytes in time: then pman asks again."""
        with suppress(Unavailable):
            return [backend.logs(ref_of(spec), lines, size)]
        return []

    (log,) = until(read, case.patience_s, "its log")
    return log


def test_the_log_is_what_the_job_wrote(case: BackendCase) -> None:
    assert log_of(case, "grüße\n\n  日本語 🧠\tend\n".encode()) == "grüße\n\n  日本語 🧠\tend\n"


def test_a_last_line_without_an_end_is_there(case: BackendCase) -> None:
    assert log_of(case, b"first\nsecond") == "first\nsecond"


def test_bad_utf8_is_replaced(case: BackendCase) -> None:
    log = log_of(case, b"latin \xe9 cut \xf0\x9f\xa7 end\n")
    # An engine may replace each bad byte, Python replaces a cut character as a whole.
    assert re.sub("\ufffd+", "\ufffd", log) == "latin \ufffd cut \ufffd end\n"


def test_a_job_that_says_nothing_has_an_empty_log(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.exit_with(0))
    backend.submit(spec)
    seen(backend, spec)
    assert backend.logs(ref_of(spec), 10, 1000) == ""


def test_an_unknown_job_has_an_empty_log(case: BackendCase, backend: Backend) -> None:
    assert backend.logs(ref_of(case.spec(case.count_run())), 10, 1000) == ""


def test_lines_are_bounded_and_the_end_is_kept(case: BackendCase) -> None:
    numbered = "".join(f"line {number}\n" for number in range(500))
    assert log_of(case, numbered.encode(), lines=3) == "line 497\nline 498\nline 499\n"


def test_bytes_are_bounded_and_the_end_is_kept(case: BackendCase) -> None:
    log = log_of(case, "0123456789é\n".encode(), times=100, size=1000)
    assert log.endswith("0123456789é\n" * 50)
    assert 900 <= len(log.encode()) <= 1000


def test_bad_utf8_does_not_grow_beyond_the_bound(case: BackendCase) -> None:
    log = log_of(case, b"\xff" * 5000, size=1000)
    assert 0 < len(log.encode()) <= 1000
    assert set(log) == {"\ufffd"}


def test_megabytes_are_cut_to_their_end(case: BackendCase) -> None:
    # Not as many as a kubelet keeps in one file, 10 MiB with what it adds to each line: it gives out the newest alone,
    # which is empty if that has been begun when the job had said all and not ended.
    log = log_of(case, b"x" * 99 + b"\n", times=60_000, lines=1000, size=64_000)
    assert len(log) <= 64_000
    assert log.endswith("x" * 99 + "\n")
    assert log.count("\n") >= 600


def test_one_endless_line_is_cut_too(case: BackendCase) -> None:
    assert log_of(case, b"ab" * 1000, times=1000, lines=10, size=4000) == "ab" * 2000


def test_a_running_job_can_be_read_if_the_backend_says_so(case: BackendCase, backend: Backend) -> None:
    if not backend.capabilities.live_logs:
        pytest.skip("the backend has no logs of running jobs")
    spec = case.spec(case.run_for(LASTING_S, say=b"so far\n"))
    backend.submit(spec)
    seen(backend, spec, State.RUNNING)
    assert until(lambda: backend.logs(ref_of(spec), 10, 1000), case.patience_s, "a live log") == "so far\n"


def test_the_log_of_a_killed_job_is_kept(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.run_for(LASTING_S, say=b"last words\n"))
    backend.submit(spec)
    wait_for_words(case, backend, spec)
    backend.end(spec.jid, spec.generation)
    seen(backend, spec, State.CANCELLED)
    assert backend.logs(ref_of(spec), 10, 1000) == "last words\n"


def wait_for_words(case: BackendCase, backend: Backend, spec: JobSpec) -> None:
    seen(backend, spec, State.RUNNING)
    if backend.capabilities.live_logs:
        until(lambda: backend.logs(ref_of(spec), 10, 1000), case.patience_s, "the last words")

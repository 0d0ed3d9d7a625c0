"""A backend as an object: made without I/O, opened, asked how it is, closed; its jobs do not care."""

import socket
import subprocess

import pytest
from cases import LASTING_S, BackendCase, load_case, seen, until

from pman_core import registry
from pman_core.backend import Backend
from pman_core.errors import BackendError, Rejected, Unavailable
from pman_core.settings import Settings
from pman_core.states import State


@pytest.mark.parametrize("name", registry.names())
def test_every_backend_of_the_registry_has_a_case(name: str) -> None:
    assert load_case(name).name == registry.load_class(name).name == name


def test_a_backend_without_a_case_is_told_what_to_add() -> None:
    with pytest.raises(LookupError, match=r"'nobody' is not tested: add tests/contract/cases/nobody\.py"):
        load_case("nobody")


def test_class_data_makes_sense(backend: Backend) -> None:
    lease_s = Settings.model_fields["submit_lease_s"].default
    assert 0 < backend.submit_timeout_s < lease_s, "a submit must be over before another worker may try"
    assert backend.poll_s > 0
    assert backend.Settings.model_config.get("frozen")


def test_making_a_backend_does_no_io(case: BackendCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("I/O in __init__")

    before = sorted(case.folder.rglob("*"))
    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setattr(subprocess.Popen, "__init__", fail)
    case.build(case.common())
    case.unreachable()
    assert sorted(case.folder.rglob("*")) == before


def test_an_open_backend_is_healthy(backend: Backend) -> None:
    assert backend.health().ok


def test_an_unreachable_scheduler_is_told_in_our_words(case: BackendCase) -> None:
    backend = case.unreachable()
    with pytest.raises((Unavailable, Rejected)):
        backend.open()
    health = backend.health()
    assert not health.ok
    assert health.message
    backend.close()


def test_no_call_takes_an_unreachable_scheduler_for_an_empty_one(case: BackendCase) -> None:
    backend = case.unreachable()
    spec = case.spec(case.exit_with(0))
    with pytest.raises(BackendError):
        backend.open()
    for call in (
        lambda: backend.submit(spec),
        lambda: list(backend.owned()),
        lambda: backend.remove(spec.jid, spec.generation),
    ):
        with pytest.raises(Unavailable):
            call()


def test_close_may_be_called_twice(case: BackendCase) -> None:
    backend = case.make()
    backend.close()
    backend.close()
    assert backend.health() is not None
    case.build(case.common()).close()


def test_jobs_go_on_when_their_worker_closes(case: BackendCase) -> None:
    spec = case.spec(case.run_for(LASTING_S))
    first = case.make()
    first.submit(spec)
    seen(first, spec, State.RUNNING)
    first.close()
    until(lambda: case.alive(spec), case.patience_s, "a living process")
    assert seen(case.make(), spec, State.RUNNING)

"""argv, environment and folders arrive as the request says. No shell, no template and no split is in between."""

import pytest
from cases import BackendCase, Dump, seen
from corpus import ARGUMENTS, ENVIRONMENT, LONG_ARGUMENT

from pman_core.backend import Backend
from pman_core.states import State


def dump(case: BackendCase, backend: Backend, args: tuple[str, ...] = (), env: tuple[str, ...] = ()) -> Dump:
    spec = case.spec(case.dump(), args=args, env=env)
    backend.submit(spec)
    seen(backend, spec, State.SUCCEEDED)
    return case.read_dump(spec)


def test_the_whole_corpus_arrives_as_arguments(case: BackendCase, backend: Backend) -> None:
    assert dump(case, backend, args=ARGUMENTS).args == ARGUMENTS


@pytest.mark.parametrize("argument", ["", "--", "-", "\n", "$(id)", "\\"])
def test_a_hostile_argument_arrives_alone(case: BackendCase, backend: Backend, argument: str) -> None:
    assert dump(case, backend, args=(argument,)).args == (argument,)


def test_a_long_argument_arrives_whole(case: BackendCase, backend: Backend) -> None:
    assert dump(case, backend, args=(LONG_ARGUMENT,)).args == (LONG_ARGUMENT,)


def test_a_thousand_arguments_arrive_in_order(case: BackendCase, backend: Backend) -> None:
    many = tuple(f"argument {number}" for number in range(1000))
    assert dump(case, backend, args=many).args == many


def test_the_whole_corpus_arrives_as_environment(case: BackendCase, backend: Backend) -> None:
    env = dump(case, backend, env=tuple(f"{name}={value}" for name, value in ENVIRONMENT.items())).env
    assert {name: env.get(name) for name in ENVIRONMENT} == ENVIRONMENT


def test_of_a_variable_given_twice_the_last_counts(case: BackendCase, backend: Backend) -> None:
    assert dump(case, backend, env=("TWICE=first", "TWICE=last")).env["TWICE"] == "last"


def test_nothing_of_the_worker_leaks_into_the_environment(case: BackendCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "not for jobs")
    assert "SECRET_KEY" not in dump(case, case.make()).env


def test_input_is_read_and_output_is_written(case: BackendCase, backend: Backend) -> None:
    spec = case.spec(case.copy(), type="ds")
    (case.input(spec) / "näme with spaces.bin").write_bytes(bytes(range(256)))
    backend.submit(spec)
    seen(backend, spec, State.SUCCEEDED)
    assert (case.output(spec) / "näme with spaces.bin").read_bytes() == bytes(range(256))


def test_input_cannot_be_written_if_the_backend_says_so(case: BackendCase, backend: Backend) -> None:
    program = case.write_incoming()
    if program is None or not backend.capabilities.read_only_incoming:
        pytest.skip("the backend does not promise it, or its case cannot try")
    spec = case.spec(program, type="ds")
    backend.submit(spec)
    seen(backend, spec, State.FAILED)
    assert not (case.input(spec) / "spoiled").exists()

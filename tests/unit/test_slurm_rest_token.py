"""Where the token of slurmrestd comes from: a setting, a file, a command; renewed before its end, and never told."""

import base64
import json
import sys
import time
from pathlib import Path

import pytest

from backends._slurm import rest_token
from backends._slurm.rest_token import Tokens, renew_at_s
from pman_core.errors import Unavailable


def jwt(ends_at_s: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": ends_at_s}).encode()).decode().rstrip("=")
    return f"head.{payload}.seal"


def command(folder: Path, *tokens: str) -> Tokens:
    """A command that prints these, one at each call, the last one again and again."""
    (folder / "tokens").write_text("\n".join(tokens))
    script = (
        "import pathlib, sys; f = pathlib.Path(sys.argv[1]); first, *rest = f.read_text().splitlines();"
        "f.write_text('\\n'.join(rest or [first])); print('SLURM_JWT=' + first)"
    )
    return Tokens(command=(sys.executable, "-c", script, str(folder / "tokens")))


def test_a_token_of_a_setting_is_all_there_is() -> None:
    tokens = Tokens("secret")
    assert (tokens.current(), tokens.another("secret")) == ("secret", "")


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    tokens = Tokens(file=file)
    file.write_text("SLURM_JWT=one\n")
    assert tokens.current() == "one"
    file.write_text("two\n")
    assert (tokens.another("one"), tokens.another("two")) == ("two", "")
    file.unlink()
    with pytest.raises(Unavailable, match="FileNotFoundError"):
        tokens.current()


def test_a_command_is_run_once_for_a_token_that_lasts(tmp_path: Path) -> None:
    lasting = jwt(time.time() + 3600)
    tokens = command(tmp_path, lasting, "other")
    assert (tokens.current(), tokens.current()) == (lasting, lasting)


def test_a_token_that_is_about_to_end_is_renewed(tmp_path: Path) -> None:
    ending, lasting = jwt(time.time() - 1), jwt(time.time() + 3600)
    tokens = command(tmp_path, ending, lasting, "other")
    assert (tokens.current(), tokens.current(), tokens.current()) == (ending, lasting, lasting)


def test_a_refused_token_is_renewed_and_not_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_token, "QUIET_S", 0.0)
    tokens = command(tmp_path, "one", "two", "three")
    assert tokens.current() == "one"
    assert tokens.another("one") == "two"
    assert tokens.another("one") == "two", "another thread has renewed it"
    monkeypatch.setattr(rest_token, "QUIET_S", 3600.0)
    assert tokens.another("two") == ""


def test_a_token_says_when_it_is_to_be_renewed() -> None:
    assert renew_at_s(jwt(10_000), 0) == 9_940
    assert renew_at_s(jwt(100), 0) == 90
    assert renew_at_s("opaque", 0) == float("inf")
    assert renew_at_s("a.%%%.c", 0) == float("inf")


@pytest.mark.parametrize(
    "script",
    [
        "import sys; print('hunter2'); print('hunter2', file=sys.stderr); sys.exit(3)",
        "print()",
        "import os; os.write(1, b'hunter2\\xff')",
    ],
)
def test_a_command_that_fails_tells_no_secret(script: str) -> None:
    with pytest.raises(Unavailable) as raised:
        Tokens(command=(sys.executable, "-c", script)).current()
    assert "hunter2" not in str(raised.value)


def test_a_command_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_token, "COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(Unavailable, match="TimeoutExpired"):
        Tokens(command=(sys.executable, "-c", "import time; time.sleep(60)")).current()


def test_a_command_that_is_not_there_is_not_now() -> None:
    with pytest.raises(Unavailable, match="FileNotFoundError"):
        Tokens(command=("/no/such/command",)).current()

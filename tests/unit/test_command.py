"""The argv of a job: path arguments made local, the folders at the end, and one spelling for people."""

import shlex
from typing import Any

import pytest

from pman_core.command import INCOMING, OUTGOING, build_argv, build_cmd
from pman_core.request import JobRequest, parse_request


def request(**fields: Any) -> JobRequest:
    body: dict[str, Any] = {
        "jid": "j", "auid": "u", "number_of_workers": 1, "cpu_limit": 1, "memory_limit": 1, "gpu_limit": 0,
        "image": "i", "entrypoint": ["prog"], "type": "fs", "input_dir": "in", "output_dir": "out",
    }  # fmt: skip
    return parse_request(body | fields)


@pytest.mark.parametrize(("kind", "folders"), [("ds", (INCOMING, OUTGOING)), ("fs", (OUTGOING,)), ("ts", (OUTGOING,))])
def test_the_folders_come_last(kind: str, folders: tuple[str, ...]) -> None:
    built = build_argv(request(type=kind, entrypoint=["python3", "app.py"], args=["--x", "1"]))
    assert built == ("python3", "app.py", "--x", "1", *folders)


def test_no_args_are_no_arguments() -> None:
    assert build_argv(request()) == build_argv(request(args=[])) == ("prog", OUTGOING)


@pytest.mark.parametrize(
    ("args", "flags", "expected"),
    [
        (["--in", "x", "y"], ["--in"], ["--in", INCOMING, "y"]),
        (["y", "--in", "x"], ["--in"], ["y", "--in", INCOMING]),
        (["--in"], ["--in"], ["--in", INCOMING]),  # the last argument: appended
        (["--in", "--in"], ["--in"], ["--in", INCOMING]),  # the second one is the first one's value
        (["--in", "--in", "x"], ["--in"], ["--in", INCOMING, "x"]),
        (["--a", "--b", "x"], ["--a", "--b"], ["--a", INCOMING, "x"]),
        (["--a", "1", "--b", "2"], ["--b", "--a"], ["--a", INCOMING, "--b", INCOMING]),
        (["--in", ""], ["--in"], ["--in", INCOMING]),
        (["--in=x", "--input", "x"], ["--in"], ["--in=x", "--input", "x"]),  # whole arguments only
        (["--in", "x"], [], ["--in", "x"]),
        (["x"], ["--in"], ["x"]),
        ([], ["--in"], []),
    ],
)
def test_the_value_after_a_path_flag_is_the_incoming_folder(
    args: list[str], flags: list[str], expected: list[str]
) -> None:
    assert build_argv(request(args=args, args_path_flags=flags)) == ("prog", *expected, OUTGOING)


def test_flags_of_the_program_itself_are_left_alone() -> None:
    assert build_argv(request(entrypoint=["prog", "--in", "x"], args_path_flags=["--in"]))[:3] == ("prog", "--in", "x")


HOSTILE = ["", " ", "a b", "'", '"', "`id`", "$(id)", "${x}", "~{x}", "\n", "\\", "é€😀", "-rf", "*", ";", "x" * 1000]


def test_arguments_arrive_verbatim_and_are_shown_so_that_a_shell_would_read_them_back() -> None:
    built = build_argv(request(args=HOSTILE))
    assert list(built[1:-1]) == HOSTILE
    cmd = build_cmd(request(args=HOSTILE))
    assert cmd == shlex.join(built)
    assert shlex.split(cmd) == list(built)

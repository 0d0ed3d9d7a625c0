"""What a job is started with: paths of the share, environment, sizes, user, cores."""

from pathlib import Path
from typing import Any

import pytest

from backends._process_launch import (
    BASE_ENV,
    build_argv,
    build_env,
    choose_cores,
    rewrite_paths,
)
from backends._sizes import check_sizes
from backends._users import choose_user
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.request import JobRequest
from pman_core.settings import UserRange
from pman_core.states import Reason

IN, OUT = Path(r"/store/a b\1/in"), Path("/store/out")
GENERATION = "01jzzzzzzzzzzzzzzzzzzzzzzz"


def spec(args: tuple[str, ...] = (), env: tuple[str, ...] = ()) -> JobSpec:
    values: dict[str, Any] = {"cpu_limit": 1, "memory_limit": 1, "gpu_limit": 0}
    request = JobRequest(
        jid="j", args=args, auid="a", number_of_workers=1, image="i", entrypoint=("prog",), type="ds", env=env,
        input_dir="in", output_dir="out", **values,
    )  # fmt: skip
    return JobSpec(GENERATION, "unit", request)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/share/incoming", "{IN}"),
        ("/share/outgoing", "{OUT}"),
        ("/share/incoming/", "{IN}/"),
        ("/share/incoming/x", "{IN}/x"),
        ("--dir=/share/incoming", "--dir={IN}"),
        ("a:/share/outgoing:b", "a:{OUT}:b"),
        ("/share/incoming:/share/outgoing", "{IN}:{OUT}"),
        ("/share/incoming,/share/incoming/y", "{IN},{IN}/y"),
        ("cat /share/incoming/* > /share/outgoing/all", "cat {IN}/* > {OUT}/all"),
        ("cat </share/incoming/a>/share/outgoing/b", "cat <{IN}/a>{OUT}/b"),
        ("x='/share/incoming' y=\"/share/outgoing\"", "x='{IN}' y=\"{OUT}\""),
        ("`ls /share/incoming`; (cd /share/outgoing)", "`ls {IN}`; (cd {OUT})"),
        ('["/share/incoming", {"out": "/share/outgoing"}]', '["{IN}", {"out": "{OUT}"}]'),
        ("line\n/share/incoming\nline", "line\n{IN}\nline"),
        ("file:///share/incoming/x", "file://{IN}/x"),
        ("@/share/incoming/list", "@{IN}/list"),
        ("-I/share/incoming", "-I{IN}"),
        ("/share/incoming?a=/share/outgoing#b", "{IN}?a={OUT}#b"),
        *(
            (text, text)
            for text in (
                "",
                "/share",
                "/share/income",
                "/share/incomingX",
                "/share/incoming2",
                "/share/incoming-old",
                "/share/incoming_old",
                "/share/incoming.txt",
                "/share/incoming~",
                "/share/incoming$X",
                "/share/incomingé",
                "/my/share/incoming",
                "my/share/incoming",
                "é/share/incoming",
                "./share/incoming",
                "../share/incoming",
                "~/share/incoming",
                "$ROOT/share/incoming",
                "${ROOT}/share/incoming",
                "$(pwd)/share/incoming",
                "//share/incoming",
                "-ab/share/incoming",
                "/SHARE/incoming",
                "share/incoming",
            )
        ),
    ],
)
def test_paths_of_the_share_are_rewritten_at_path_boundaries(text: str, expected: str) -> None:
    assert rewrite_paths(text, IN, OUT) == expected.replace("{IN}", str(IN)).replace("{OUT}", str(OUT))


def test_argv_is_rewritten_and_otherwise_verbatim() -> None:
    hostile = ("", "'", '"', "`id`", "$(id)", "~{x}", "\n", "é日", "-x", "{IN}", "\\1", "\\g<0>")
    assert build_argv(spec(hostile), IN, OUT) == ["prog", *hostile, str(IN), str(OUT)]


def test_the_environment_is_small_and_the_request_counts() -> None:
    env = build_env(spec(env=("A=1", "PATH=/mine", "EMPTY=", "D=/share/incoming", "HOME=/h")), IN, OUT, home="/home/x")
    assert env == {
        "LANG": BASE_ENV["LANG"],
        "PATH": "/mine",
        "HOME": "/h",
        "PMAN_GENERATION": GENERATION,
        "A": "1",
        "EMPTY": "",
        "D": str(IN),
    }


@pytest.mark.parametrize(
    ("argv", "env", "named"),
    [
        (["p", "x" * 100], {}, "argument 1 has 100 bytes"),
        (["p", "é" * 50], {}, "argument 1 has 100 bytes"),
        (["p"], {"NAME": "x" * 95}, "variable NAME has 100 bytes"),
    ],
)
def test_what_no_exec_takes_is_refused_by_name(argv: list[str], env: dict[str, str], named: str) -> None:
    with pytest.raises(Rejected, match=f"{named}, exec takes less than 100") as refused:
        check_sizes(argv, env, bytes_max=100)
    assert refused.value.reason is Reason.START_FAILED


def test_what_exec_just_takes_is_accepted() -> None:
    check_sizes(["p", "x" * 99], {"NAME": "x" * 94}, bytes_max=100)


def test_the_user_of_a_generation_is_in_range_and_stays() -> None:
    users = UserRange(1000, 1999, 100, 100)
    chosen = {choose_user(users, f"g{number}") for number in range(50)}
    assert all(1000 <= uid <= 1999 and gid == 100 for uid, gid in chosen)
    assert len(chosen) > 30
    assert choose_user(users, "g1") == choose_user(users, "g1")


@pytest.mark.parametrize(("millicores", "count"), [(1, 1), (1000, 1), (1001, 2), (3999, 4), (4000, 4)])
def test_cores_are_whole_different_and_available(millicores: int, count: int) -> None:
    available = [0, 2, 5, 7]
    cores = choose_cores(millicores, available, "g")
    assert len(set(cores)) == len(cores) == count
    assert set(cores) <= set(available)


def test_jobs_of_one_core_are_spread() -> None:
    assert {choose_cores(1000, [0, 1, 2, 3], f"g{number}")[0] for number in range(50)} == {0, 1, 2, 3}


def test_more_cores_than_there_are_is_refused() -> None:
    with pytest.raises(Rejected, match="cpu_limit: the job wants 5 cores, this host has 4"):
        choose_cores(4001, [0, 1, 2, 3], "g")

"""The process backend's answers: states from the disk and the kernel, other hosts, a store that is away, removal."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from backends import _process_host
from backends._process_control import Control
from backends._process_host import is_alive, start_ticks, terminate
from backends.process import ProcessBackend, ProcessSettings
from pman_core.backend import Absent, Handle, JobRef, Observed, Unknown
from pman_core.errors import Rejected, Unavailable, WrongHost
from pman_core.job import JobSpec
from pman_core.settings import Settings, load
from pman_core.states import Reason, State
from tests.unit.process_harness import HOST, Site, dead, is_living, look, run, seen, site, until

__all__ = ["site"]

not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")


def ref(spec: JobSpec, handle: Handle | None = None) -> JobRef:
    return JobRef(spec.jid, spec.generation, handle)


# -- settings, capabilities, open


def test_its_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROCESS_ANY_IMAGE", raising=False)
    assert load(ProcessSettings).process_any_image is False
    monkeypatch.setenv("PROCESS_ANY_IMAGE", "yes")
    assert load(ProcessSettings).process_any_image is True


def test_an_image_is_refused_with_the_setting_that_accepts_it(site: Site) -> None:
    backend = site.backend(any_image=False)
    spec = site.spec("true")
    (fault,) = backend.capabilities.refusals(spec.request)
    assert fault.field == "image"
    assert "PROCESS_ANY_IMAGE=yes" in fault.message
    with pytest.raises(Rejected, match="PROCESS_ANY_IMAGE=yes"):
        backend.submit(spec)
    assert look(backend, spec) == Absent()


def test_what_it_cannot_do_is_published() -> None:
    published = ProcessBackend(Settings(storebase=Path("/x")), ProcessSettings()).capabilities.to_dict()
    assert published == {
        "scope": "host",
        "any_image": False,
        "any_image_hint": published["any_image_hint"],
        "number_of_workers_max": 1,
        "gpus": False,
        "cpu_unit": "core",
        "memory_scope": "process",
        "reports_oom": False,
        "read_only_incoming": False,
        "rewrites_paths": True,
        "sets_user": os.geteuid() == 0,
        "watches": False,
        "live_logs": True,
        "ends_overdue": True,
        "engine": "",
    }


def test_the_control_folder_is_closed_to_others(site: Site) -> None:
    site.base.chmod(0o777)
    (site.base / ".pman").mkdir(mode=0o755)
    backend = site.backend()
    backend.open()
    assert [oct(path.stat().st_mode & 0o777) for path in (site.control.parent, site.control)] == ["0o700"] * 2
    run(backend, site.shell("echo secret"))
    assert all(path.stat().st_mode & 0o077 == 0 for path in site.control.glob("*/*") if path.name == "log")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to another")
def test_a_control_folder_of_somebody_else_is_refused(site: Site) -> None:
    (site.base / ".pman").mkdir()
    os.chown(site.base / ".pman", 12345, 12345)
    with pytest.raises(Rejected, match="belongs to user 12345"):
        site.backend()


def test_a_control_folder_that_is_a_symlink_is_not_followed(site: Site) -> None:
    (site.base / ".pman").symlink_to(site.base / "in")
    with pytest.raises(Unavailable):
        site.backend()
    assert not list((site.base / "in").iterdir())


def test_no_store_base_is_refused() -> None:
    common = Settings(storage_type="docker_local_volume", storebase=None)
    with pytest.raises(Rejected, match="STOREBASE"):
        ProcessBackend(common, ProcessSettings()).open()


def test_another_system_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(Rejected, match=r"needs Linux 5\.3"):
        site.backend()


# -- what submit refuses


def test_more_cores_than_the_host_has_are_refused(site: Site) -> None:
    with pytest.raises(Rejected, match="cpu_limit"):
        site.backend().submit(site.spec("true", cpu_limit=(len(os.sched_getaffinity(0)) + 1) * 1000))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"input_dir": "missing", "type": "ds"}, "input_dir"),
        ({"input_dir": "l"}, "input_dir"),
        ({"output_dir": "l"}, "output_dir"),
    ],
)
def test_folders_that_are_not_there_or_lead_elsewhere_are_refused(
    site: Site, fields: dict[str, str], named: str
) -> None:
    (site.base / "l").symlink_to("/etc")
    spec = site.spec("true", **fields)
    with pytest.raises(Rejected, match=named):
        site.backend().submit(spec)
    assert not (site.control / spec.generation).exists()


def test_a_job_without_input_needs_no_input_folder(site: Site) -> None:
    assert run(site.backend(), site.spec("true", input_dir="missing")).state is State.SUCCEEDED
    assert list((site.base / "missing").iterdir()) == []


def test_an_argument_too_long_for_the_kernel_is_refused_by_name(site: Site) -> None:
    with pytest.raises(Rejected, match="argument 1 has 131072 bytes") as refused:
        site.backend().submit(site.spec("true", "x" * 131072))
    assert refused.value.reason is Reason.START_FAILED
    assert run(site.backend(), site.spec("true", "x" * 131071)).state is State.SUCCEEDED


@not_as_root
def test_another_user_is_refused(site: Site) -> None:
    with pytest.raises(Rejected, match="CONTAINER_USER"):
        site.backend(container_user="12345:23456").submit(site.spec("true"))


def test_our_own_user_is_no_change(site: Site) -> None:
    backend = site.backend(container_user=f"{os.geteuid()}:{os.getegid()}")
    assert run(backend, site.spec("true")).state is State.SUCCEEDED


def test_a_user_without_an_account_has_a_home_all_the_same(site: Site) -> None:
    spec = site.shell('echo "$HOME" >"$0/home"')
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    assert run(site.backend(container_user="54321:54321"), spec).state is State.SUCCEEDED
    assert (site.output(spec) / "home").read_text() == "/\n"


# -- observe


def test_a_dead_supervisor_of_an_earlier_boot(site: Site) -> None:
    spec = site.spec("true")
    backend = site.backend()
    site.write_state(dead(spec, started_at=1.0, boot_id="earlier"))
    ended = seen(backend, spec)
    assert (ended.state, ended.reason) == (State.FAILED, Reason.NODE_FAIL)
    assert "restarted" in ended.message


def test_an_end_written_at_the_last_moment_counts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor ends between the read of the state and the look at the process."""
    spec = site.spec("true")
    backend = site.backend()
    running = dead(spec, started_at=1.0)
    site.write_state(running)

    def end_meanwhile(*_: object) -> bool:
        site.write_state(replace(running, finished_at=2.0, cause="exited", exit_code=0))
        return False

    monkeypatch.setattr("backends.process.is_alive", end_meanwhile)
    assert seen(backend, spec).state is State.SUCCEEDED


def test_the_end_of_a_dead_one_is_told_even_if_it_cannot_be_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = site.spec("true")
    backend = site.backend()
    site.write_state(dead(spec))

    def full(*_: object) -> None:
        raise Unavailable("no space left on device")

    monkeypatch.setattr(Control, "replace", full)
    assert seen(backend, spec).reason is Reason.NODE_FAIL


def test_a_job_of_another_host(site: Site) -> None:
    spec = site.spec("true")
    here, there = site.backend(), Handle(1, {}, host="host-b")
    assert isinstance(here.observe([ref(spec, there)])[spec.jid, spec.generation], Unknown), "it may not be seen yet"
    site.write_state(dead(spec, host="host-b", started_at=1.0))
    for handle in (None, there):
        assert here.observe([ref(spec, handle)])[spec.jid, spec.generation] == Unknown("the job is on host host-b")
        with pytest.raises(WrongHost) as wrong:
            here.logs(ref(spec, handle), 1, 1)
        assert wrong.value.host == "host-b"
    with pytest.raises(WrongHost, match="host-b"):
        here.remove(spec.jid, spec.generation)
    (owned,) = here.owned()
    assert (owned.observed.state, owned.observed.handle.host) == (State.RUNNING, "host-b")


def test_a_job_that_has_ended_on_another_host_is_read_and_removed_anywhere(site: Site) -> None:
    spec = site.shell("echo said; exit 3")
    run(site.backend(pman_hostname="host-b"), spec)
    here = site.backend()
    assert seen(here, spec).exit_code == 3
    assert here.logs(ref(spec), 1, 100) == "said\n"
    here.remove(spec.jid, spec.generation)
    assert look(here, spec) == Absent()


def test_a_damaged_state_is_no_answer_and_harms_no_other(site: Site) -> None:
    backend = site.backend()
    good, bad = site.spec("true"), site.spec("true")
    run(backend, good)
    (site.control / bad.generation).mkdir()
    (site.control / bad.generation / "state.json").write_text("{")
    answers = backend.observe([ref(good), ref(bad)])
    assert isinstance(answers[good.jid, good.generation], Observed)
    assert isinstance(answers[bad.jid, bad.generation], Unknown)
    assert {(item.observed.generation, item.spec) for item in backend.owned()} == {
        (good.generation, good),
        (bad.generation, None),
    }
    with pytest.raises(Unavailable):
        backend.remove(bad.jid, bad.generation)


def test_an_unreadable_spec_is_none(site: Site) -> None:
    backend = site.backend()
    spec = site.spec("true")
    run(backend, spec)
    for text in ("{", "[]", "{}", '{"job": "{}"}'):
        (site.control / spec.generation / "launch.json").write_text(text)
        assert [item.spec for item in backend.owned()] == [None]


@contextmanager
def unmounted(site: Site) -> Iterator[None]:
    """An empty folder is where the store was."""
    site.base.rename(site.folder / "away")
    site.base.mkdir()
    try:
        yield
    finally:
        site.base.rmdir()
        (site.folder / "away").rename(site.base)


def test_a_store_that_is_not_mounted_knows_nothing_of_any_job(site: Site) -> None:
    backend = site.backend()
    spec = site.spec("true")
    run(backend, spec)
    with unmounted(site):
        for question in (
            lambda: look(backend, spec),
            lambda: backend.logs(ref(spec), 1, 1),
            lambda: list(backend.owned()),
            lambda: backend.remove(spec.jid, spec.generation),
            lambda: backend.submit(site.spec("true")),
        ):
            with pytest.raises(Unavailable):
                question()
        assert not backend.health().ok
        (site.base / ".pman" / "unit").mkdir(parents=True)
        with pytest.raises(Unavailable, match=r"\.mounted"):
            look(backend, spec)
        (site.base / ".pman" / "unit").rmdir()
        (site.base / ".pman").rmdir()
    assert seen(backend, spec).state is State.SUCCEEDED
    assert backend.health().ok


def test_ten_thousand_jobs_are_asked_for_in_seconds(site: Site) -> None:
    backend = site.backend()
    spec = site.spec("true")
    run(backend, spec)
    ended = site.state(spec)
    jobs = [replace(ended, generation=f"g{number}") for number in range(100)]
    for job in jobs:
        site.write_state(job)
    refs = [JobRef(spec.jid, job.generation) for job in jobs] * 100
    began_s = time.process_time()
    assert len(backend.observe(refs)) == 100
    assert time.process_time() - began_s < 5


# -- remove


def test_a_pid_that_is_somebody_elses_by_now_is_not_touched(site: Site) -> None:
    spec = site.spec("true")
    backend = site.backend()
    site.write_state(dead(spec, started_at=1.0))
    backend.remove(spec.jid, spec.generation)  # the pid in there is ours
    assert look(backend, spec) == Absent()


def test_a_process_is_known_by_its_start_and_boot() -> None:
    ticks, boot = start_ticks(os.getpid()), _process_host.boot_id()
    assert ticks
    assert is_alive(os.getpid(), ticks, boot)
    assert not is_alive(os.getpid(), ticks + 1, boot)
    assert not is_alive(os.getpid(), ticks, "earlier")
    assert not is_alive(2**22 + 1, ticks, boot)
    assert terminate(os.getpid(), ticks + 1, timeout_s=0)
    assert terminate(2**22 + 1, ticks, timeout_s=0)


def test_a_zombie_is_dead() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "a zombie")
    assert start_ticks(pid) is None
    os.waitpid(pid, 0)


def test_an_end_that_takes_too_long_is_not_called_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = site.backend()
    spec = site.shell("exec sleep 600")
    backend.submit(spec)
    with monkeypatch.context() as patch:
        patch.setattr("backends.process.terminate", lambda *_: False)
        with pytest.raises(Unavailable, match="has not ended yet"):
            backend.remove(spec.jid, spec.generation)
    assert isinstance(look(backend, spec), Observed)


def test_a_removal_leaves_neither_spec_nor_log(site: Site) -> None:
    backend = site.backend()
    spec = site.shell("echo secret", env=("TOKEN=secret",))
    run(backend, spec)
    backend.remove(spec.jid, spec.generation)
    assert [path.name for path in (site.control / spec.generation).iterdir()] == ["state.json"]
    assert b"secret" not in (site.control / spec.generation / "state.json").read_bytes()


def test_a_removal_of_an_unknown_generation_takes_its_name(site: Site) -> None:
    backend = site.backend()
    spec = site.spec("true")
    backend.end(spec.jid, spec.generation)
    assert look(backend, spec) == Absent()
    with pytest.raises(Rejected, match="has been removed"):
        backend.submit(spec)


def test_a_removal_that_loses_the_name_to_a_launcher_ends_the_job(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = site.backend()
    spec = site.shell("exec sleep 600")
    real_take_name = Control.take_name

    def take_name(control: Control, jid: str, generation: str) -> bool:
        backend.submit(spec)
        return real_take_name(control, jid, generation)

    monkeypatch.setattr(Control, "take_name", take_name)
    backend.remove(spec.jid, spec.generation)
    assert look(backend, spec) == Absent()


def test_a_job_is_not_ended_under_another_jid(site: Site) -> None:
    backend = site.backend()
    spec = site.shell("exec sleep 600")
    backend.submit(spec)
    backend.remove("another", spec.generation)
    assert backend.logs(JobRef("another", spec.generation), 1, 1) == ""
    assert backend.observe([JobRef("another", spec.generation)])["another", spec.generation] == Absent()
    assert is_living(site.supervisor(spec).pid)
    assert backend.submit(spec).host == HOST


# -- logs


def test_a_log_is_never_cut_in_a_character(site: Site) -> None:
    backend = site.backend()
    spec = site.shell("printf 日本日本")
    run(backend, spec)
    assert [backend.logs(ref(spec), 1, size) for size in (0, 2, 3, 4, 8, 11, 12, 13)] == [
        "", "", "本", "本", "日本", "本日本", "日本日本", "日本日本",
    ]  # fmt: skip


def test_nothing_is_left_open(site: Site) -> None:
    backend = site.backend()
    spec = site.spec("true")
    run(backend, spec)
    before = len(list(Path("/proc/self/fd").iterdir()))
    backend.logs(ref(spec), 1, 1)
    list(backend.owned())
    look(backend, spec)
    backend.remove(spec.jid, spec.generation)
    assert backend.health().ok
    assert len(list(Path("/proc/self/fd").iterdir())) == before

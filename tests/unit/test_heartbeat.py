"""The sign of life that a probe looks for: it is there while the loop comes round and Redis answers, else it is not."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pman_core.errors import StoreUnavailable
from pman_worker.heartbeat import Heartbeat
from pman_worker.leader import Leader
from pman_worker.observer import Observer
from tests.unit.worker_harness import OneRound, World


def beating(world: World, path: Path) -> None:
    world.ctx = replace(world.ctx, settings=world.ctx.settings.model_copy(update={"heartbeat_file": path}))


def test_a_beat_is_a_new_time_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    path.write_text("")
    before_ns = path.stat().st_mtime_ns - 10**9
    os.utime(path, ns=(before_ns, before_ns))
    Heartbeat(path).beat()
    assert path.stat().st_mtime_ns > before_ns


def test_the_beats_of_an_earlier_process_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    path.touch()
    Heartbeat(path).begin()
    assert not path.exists()
    Heartbeat(path).begin()


def test_without_a_path_nothing_is_touched() -> None:
    Heartbeat(None).begin()
    Heartbeat(None).beat()


def test_a_beat_that_cannot_be_written_is_told_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Heartbeat(tmp_path / "no-such-folder" / "heartbeat").beat()
    assert "No such file or directory" in caplog.text


def test_a_leader_beats_at_each_round(tmp_path: Path) -> None:
    world = World()
    beating(world, tmp_path / "beat")
    world.observer().run(OneRound())
    assert (tmp_path / "beat").exists()


def test_one_who_stands_by_beats_as_long_as_the_store_answers_even_if_it_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    beating(world, tmp_path / "beat")
    world.leader.renew()
    standing_by = Leader(world.store, "mock", 6.0)
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "lead", away)
        standing_by.renew()
        Observer(world.ctx, standing_by).run(OneRound())
        assert not (tmp_path / "beat").exists()
    standing_by.renew()
    assert not standing_by.leads()
    Observer(world.ctx, standing_by).run(OneRound())
    assert (tmp_path / "beat").exists()


def away(*_: object) -> bool:
    raise StoreUnavailable("away")

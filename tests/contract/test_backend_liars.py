"""The suite on trial: for each way to break the contract there is a test that notices.

Each liar of ``tests/fakes/liars`` stands beside the test that must fail for it; the same test passes for the
honest mock. A new clause of the contract is finished when its liar is in this table.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar

import pytest
import test_backend_capabilities as capabilities
import test_backend_life as life
import test_backend_logs as logs
import test_backend_remove as remove
import test_backend_submit as submit
import test_backend_truth as truth
import test_backend_verbatim as verbatim
import test_backend_watch as watch
from cases import BackendCase
from cases.mock import MockCase

from backends.mock import MockBackend, MockSettings
from pman_core.errors import BackendError
from pman_core.settings import Settings
from tests.fakes import liars
from tests.fakes.liars import limits as limits_liars
from tests.fakes.liars import logs as logs_liars
from tests.fakes.liars import remove as remove_liars
from tests.fakes.liars import retold
from tests.fakes.liars import sight as sight_liars
from tests.fakes.liars import submit as submit_liars
from tests.fakes.unlimited import Unlimited

pytestmark = pytest.mark.exhaustive

CAUGHT_BY: list[tuple[type[MockBackend], Callable[..., None], dict[str, Any]]] = [
    (submit_liars.RunsAgain, submit.test_submit_twice_is_one_execution_and_one_handle, {}),
    (submit_liars.RunsAgain, submit.test_a_worker_that_crashed_after_submit_adopts_its_job, {}),
    (submit_liars.StartsNothing, submit.test_what_was_made_and_not_started_is_brought_on_by_submit_alone, {}),
    (submit_liars.CallsItPending, submit.test_what_was_made_and_not_started_is_brought_on_by_submit_alone, {}),
    (remove_liars.EndsTheRunningOnly, submit.test_what_was_made_and_not_started_can_be_ended, {"how": "end"}),
    (remove_liars.RemovesNothing, submit.test_what_was_made_and_not_started_can_be_ended, {"how": "remove"}),
    (submit_liars.AdoptsStrangers, submit.test_another_job_under_the_same_generation_is_a_conflict, {}),
    (submit_liars.RefusesRepeats, submit.test_submit_twice_is_one_execution_and_one_handle, {}),
    (submit_liars.ChangesItsHandle, submit.test_submit_from_many_workers_at_once_is_one_execution, {}),
    (submit_liars.NeedsItsMemory, submit.test_a_job_outlives_its_worker_and_is_found_again, {"knows_handle": True}),
    (submit_liars.NeedsAHandle, submit.test_a_job_outlives_its_worker_and_is_found_again, {"knows_handle": False}),
    (submit_liars.UsesAShell, verbatim.test_the_whole_corpus_arrives_as_arguments, {}),
    (submit_liars.UsesAShell, verbatim.test_a_hostile_argument_arrives_alone, {"argument": ""}),
    (submit_liars.StripsValues, verbatim.test_the_whole_corpus_arrives_as_environment, {}),
    (sight_liars.LeavesOutTheUnknown, truth.test_an_unknown_job_is_absent, {}),
    (sight_liars.ShrugsAtTheUnknown, truth.test_fifty_questions_have_fifty_answers, {}),
    (sight_liars.GuessesAtHandles, truth.test_a_handle_of_a_newer_release_is_not_guessed_at, {}),
    (sight_liars.SeesOnlySuccess, truth.test_another_exit_code_is_failure, {"code": 3}),
    (sight_liars.HidesSignals, truth.test_death_by_signal_is_told, {"number": 15}),
    (sight_liars.GoesBack, truth.test_a_state_never_goes_back, {}),
    (sight_liars.HasNoTimezone, truth.test_times_are_utc_and_in_order, {}),
    (sight_liars.EndsAnew, truth.test_an_end_stays_as_it_was, {}),
    (sight_liars.ListsEverybody, truth.test_owned_leaves_out_other_instances, {}),
    (sight_liars.ForgetsSpecs, truth.test_owned_lists_every_job_with_its_spec, {}),
    (sight_liars.ListsTheLiving, truth.test_owned_lists_every_job_with_its_spec, {}),
    (logs_liars.KeepsTheBeginning, logs.test_lines_are_bounded_and_the_end_is_kept, {}),
    (logs_liars.KeepsTheBeginning, logs.test_bytes_are_bounded_and_the_end_is_kept, {}),
    (logs_liars.SaysEverything, logs.test_megabytes_are_cut_to_their_end, {}),
    (logs_liars.SaysEverything, logs.test_one_endless_line_is_cut_too, {}),
    (logs_liars.CountsCharacters, logs.test_bad_utf8_does_not_grow_beyond_the_bound, {}),
    (logs_liars.MissesUnknownLogs, logs.test_an_unknown_job_has_an_empty_log, {}),
    (remove_liars.RemovesNothing, remove.test_a_running_job_and_its_children_end_promptly, {}),
    (submit_liars.RunsAgain, remove.test_a_kept_object_is_not_run_again, {}),
    (sight_liars.RemembersHandles, remove.test_a_removed_job_is_absent_by_its_handle_too, {}),
    (remove_liars.RemovesNothing, remove.test_a_finished_job_is_removed, {}),
    (remove_liars.ConfirmsTooEarly, remove.test_a_confirmed_removal_is_true, {}),
    (remove_liars.KeepsNothing, remove.test_a_kept_object_is_there_and_cancelled, {}),
    (remove_liars.RemovesByJid, remove.test_another_generation_is_not_touched, {}),
    (remove_liars.RemovesByGeneration, remove.test_another_job_is_not_touched, {}),
    (remove_liars.MissesTheRemoved, remove.test_remove_twice_is_a_success, {}),
    (remove_liars.MissesTheRemoved, remove.test_remove_of_an_unknown_job_is_a_success, {}),
    (
        limits_liars.IgnoresGpus,
        capabilities.test_what_capabilities_rule_out_is_refused_by_submit,
        {"wish": {"gpu_limit": 1}},
    ),
    (limits_liars.IgnoresTheTimeLimit, capabilities.test_a_time_limit_ends_the_job, {}),
    (limits_liars.ForgetsWhy, capabilities.test_a_time_limit_ends_the_job, {}),
    (limits_liars.HidesTheLimit, capabilities.test_a_time_limit_ends_the_job, {}),
    (limits_liars.NamesTheSitesLimit, capabilities.test_a_job_ended_at_its_own_time_limit_names_that_one, {}),
    (limits_liars.RemovesTheOverdue, capabilities.test_a_time_limit_ends_the_job, {}),
    (limits_liars.NeverEndsTheOverdue, capabilities.test_a_time_limit_ends_the_job, {}),
    (limits_liars.BlamesTheEnded, capabilities.test_a_job_that_has_ended_is_not_overdue, {}),
    (limits_liars.IgnoresTheUser, capabilities.test_a_user_is_set_or_refused, {}),
    (limits_liars.BoastsOfUsers, capabilities.test_a_user_is_set_or_refused, {}),
    (sight_liars.ConnectsTooEarly, life.test_making_a_backend_does_no_io, {}),
    (sight_liars.FindsNothingWhenAway, life.test_no_call_takes_an_unreachable_scheduler_for_an_empty_one, {}),
    (sight_liars.PanicsWhenAway, life.test_an_unreachable_scheduler_is_told_in_our_words, {}),
    (sight_liars.WatchesFromNow, watch.test_what_happened_while_nobody_listened_is_heard, {}),
    (sight_liars.HearsEverybody, watch.test_other_instances_are_not_heard, {}),
]


class TrialCase(MockCase):
    """The mock's case, with the accused for a backend."""

    accused: ClassVar[type[MockBackend]]

    def build(self, common: Settings) -> MockBackend:
        return self.accused(common, MockSettings(mock_dir=self.scheduler))

    def unreachable(self) -> MockBackend:
        return self.accused(self.common(), MockSettings(mock_dir=self.folder / "nowhere"))


def honest(liar: type[MockBackend]) -> type[MockBackend]:
    """Return the backend that ``liar`` pretends to be."""
    return MockBackend if liar.capabilities.ends_overdue else Unlimited


def put_on_trial(
    accused: type[MockBackend],
    test: Callable[..., None],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, Any],
) -> None:
    """Call ``test`` as pytest does, with the fixtures that it asks for."""
    folder.mkdir()
    # Little patience with liars: they keep the suite waiting until it gives up.
    patience = {} if accused is honest(accused) else {"patience_s": 0.8, "prompt_s": 0.5}
    case: BackendCase = type("Case", (TrialCase,), {"accused": accused, **patience})(folder, "trial")
    fixtures: dict[str, Callable[[], Any]] = {
        "case": lambda: case,
        "backend": case.make,
        "watching": case.make,
        "monkeypatch": lambda: monkeypatch,
    }
    asked = inspect.signature(test).parameters.keys() - values.keys()
    test(**{name: fixtures[name]() for name in asked}, **values)


@pytest.mark.parametrize(("liar", "test", "values"), CAUGHT_BY, ids=lambda part: getattr(part, "__name__", "") or "-")
def test_the_suite_catches(
    liar: type[MockBackend],
    test: Callable[..., None],
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_on_trial(honest(liar), test, tmp_path / "honest", monkeypatch, values)
    with pytest.raises((AssertionError, BackendError, KeyError, pytest.fail.Exception)):
        put_on_trial(liar, test, tmp_path / "liar", monkeypatch, values)


def test_every_liar_is_put_on_trial() -> None:
    modules = (limits_liars, logs_liars, remove_liars, sight_liars, submit_liars)
    assert {module.__name__ for module in modules} == {
        f"{liars.__name__}.{module.name}" for module in iter_modules(liars.__path__)
    } - {retold.__name__}
    there = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }
    assert there == {liar for liar, _, _ in CAUGHT_BY}

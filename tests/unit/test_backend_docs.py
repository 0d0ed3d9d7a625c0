"""What the docs of the backends name is there: settings, pman's reasons, the ends of Slurm's states."""

import re
from pathlib import Path

import pytest

from backends._slurm.state import STATES, Stage
from pman_core.states import Reason, State
from tests.unit.test_readme import ROWS

DOCS = Path(__file__).parents[2] / "docs"
NAMED = re.compile(r"`(?:\w+=\S+ )*([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)[`=]|\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)=")
"""A word like ``LOST_GRACE_S``: in quotes, or with a value."""
OTHERS = {
    "kubernetes": {"FLOWER_BASIC_AUTH", "PMAN_URL", "REDIS_PASSWORD"},
    "slurm": {"CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"},
    "cromwell": {"CROMWELL_DB", "CROMWELL_ROOT"},
    "engines": set(),
}
"""Variables that are not pman's own, or not its processes'."""


def names_in(text: str) -> set[str]:
    return {name for pair in NAMED.findall(text) for name in pair if name}


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_is_called_like_a_setting_or_a_reason_is_one(name: str) -> None:
    named = names_in((DOCS / f"{name}.md").read_text())
    assert named - OTHERS[name] <= ROWS.keys() | set(Reason)
    assert OTHERS[name] <= named, "who is not named any more"


@pytest.mark.parametrize("name", OTHERS)
def test_the_ends_of_jobs_are_told_by_the_reasons_that_pman_has(name: str) -> None:
    """``NONZERO_EXIT`` and ``SIGNALLED`` are those of every backend."""
    assert {"NONZERO_EXIT", "START_FAILED"} <= names_in((DOCS / f"{name}.md").read_text())
    assert "`SIGNALLED`" in (DOCS / f"{name}.md").read_text()


def test_every_state_in_which_slurm_ends_a_job_is_in_its_docs() -> None:
    rows = [line for line in (DOCS / "slurm.md").read_text().splitlines() if line.startswith("|")]
    for word, meaning in STATES.items():
        if meaning.stage is Stage.ENDED and word not in {"COMPLETED", "FAILED", "CANCELLED"}:
            told = meaning.reason if meaning.state is State.FAILED else meaning.state
            assert any(re.search(rf"\b{word}\b.*`{told}`", row) for row in rows), word

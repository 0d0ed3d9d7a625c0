"""How long a time limit was, in words."""

import pytest

from backends._time_limit import describe_time_limit


@pytest.mark.parametrize(
    ("limit_s", "told"),
    [
        (60.0, "ended at its time limit of 1 min"),
        (60, "ended at its time limit of 1 min"),
        (86400.0, "ended at its time limit of 1440 min"),
        (7_200_060.0, "ended at its time limit of 120001 min"),
        (90.0, "ended at its time limit of 90 s"),
        (0.3, "ended at its time limit of 0.3 s"),
        (None, "ended at its time limit"),
    ],
)
def test_it_is_told_in_minutes_if_it_is_minutes(limit_s: float | None, told: str) -> None:
    assert describe_time_limit(limit_s) == told

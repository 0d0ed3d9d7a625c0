"""What is said of a job that ran into its time limit. Pure; for every backend that knows how long that was."""


def describe_time_limit(limit_s: float | None) -> str:
    """Return it in words; ``None``: how long it was is not known.

    Limits are asked for in minutes, and told in minutes if they are whole ones.
    """
    if limit_s is None:
        return "ended at its time limit"
    is_in_minutes = limit_s >= 60 and limit_s % 60 == 0
    return f"ended at its time limit of {f'{limit_s // 60:.0f} min' if is_in_minutes else f'{limit_s:g} s'}"

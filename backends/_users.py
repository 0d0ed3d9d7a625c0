"""Whom a job runs as, chosen from CONTAINER_USER. Pure; for every backend that can set a user."""

from typing import overload

from pman_core.job import stable_choice
from pman_core.settings import UserRange

HOME_WORKAROUND = "/tmp"  # noqa: S108 - the value that the old pman sets
"""The HOME of a job with ENABLE_HOME_WORKAROUND: one that every user may write."""


@overload
def choose_user(users: UserRange, generation: str) -> tuple[int, int]: ...
@overload
def choose_user(users: UserRange | None, generation: str) -> tuple[int, int] | None: ...
def choose_user(users: UserRange | None, generation: str) -> tuple[int, int] | None:
    """Return the uid and gid of a job, the same ones whenever it is asked for; ``None`` if nothing is set."""
    if users is None:
        return None
    uid = stable_choice(f"{generation} uid", users.uid_low, users.uid_high)
    gid = stable_choice(f"{generation} gid", users.gid_low, users.gid_high)
    return uid, gid

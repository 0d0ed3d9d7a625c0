"""The errors of the house: what went wrong, told as what to do about it.

The backend errors are the whole vocabulary between a backend and the worker; see
:mod:`pman_core.backend` for who raises which.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pman_core.states import Reason


class PmanError(Exception):
    """Base of every error that pman raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input: the field's name on the wire, and what is allowed."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class Faulty(PmanError):
    """Bad input; carries every fault at once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


class InvalidRequest(Faulty):
    """A job request that cannot be accepted."""


class InvalidSettings(Faulty):
    """Settings that pman cannot start with."""


class StoreUnavailable(PmanError):
    """Redis did not confirm within the time-out; nothing may be concluded about what it did."""


class BackendError(PmanError):
    """Base of the errors that a backend may raise."""


class Rejected(BackendError):
    """The same job would always fail here: it ends as FAILED with ``reason``."""

    def __init__(self, message: str, reason: Reason = Reason.REJECTED) -> None:
        super().__init__(message)
        self.reason = reason


class Unavailable(BackendError):
    """The scheduler cannot be asked now: try again later; no state changes."""


class RegistryAway(Unavailable):
    """The scheduler answers and says that the registry of an image does not."""


class WrongHost(Unavailable):
    """The job lives on another host, and only a worker there can reach it."""

    def __init__(self, host: str) -> None:
        super().__init__(f"the job is on host {host}")
        self.host = host


class ImageMissing(BackendError):
    """The scheduler has not got the image: fetching it is a step of its own, see ``Backend.pull``."""

    def __init__(self, image: str) -> None:
        super().__init__(f"the image {image} is not there yet")
        self.image = image


class Conflict(BackendError):
    """The native name is held by something that is not this job."""


class Unparseable(BackendError):
    """The scheduler answered something unknown: no state changes, and ``raw`` goes to the log."""

    def __init__(self, message: str, raw: str) -> None:
        super().__init__(message)
        self.raw = raw

"""What can go wrong between a client and pman, told as what the caller can do about it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that pman finds wrong with a request."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ClientError(Exception):
    """Base of every error that the client raises on purpose."""


class NotFound(ClientError):
    """No such job: never submitted, deleted, or expired."""


class JobConflict(ClientError):
    """The jid is taken by a job with another body. Choose another jid."""


class BadRequest(ClientError):
    """pman will never accept this request; ``errors`` names every fault."""

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__("; ".join(map(str, errors)) or message)
        self.errors = tuple(errors)


class PmanUnavailable(ClientError):
    """pman gave no usable answer, however often it was asked. The same call may be repeated at any time."""

"""Liars that end or remove too little, too much, or the wrong job."""

from backends.mock import MockBackend
from pman_core.errors import Unavailable


class RemovesNothing(MockBackend):
    def remove(self, jid: str, generation: str) -> bool:
        return False


class ConfirmsTooEarly(MockBackend):
    """What lingers is said to be gone."""

    def remove(self, jid: str, generation: str) -> bool:
        found = self._to_remove(jid, generation)
        if found is not None:
            self._end(*found, gone_after_s=600)
        return True


class EndsTheRunningOnly(MockBackend):
    """What was never started is left for a late submit to start."""

    def end(self, jid: str, generation: str) -> None:
        found = self._present(generation)
        if found and found[0].is_started:
            super().end(jid, generation)


class KeepsNothing(MockBackend):
    def end(self, jid: str, generation: str) -> None:
        super().remove(jid, generation)


class RemovesByJid(MockBackend):
    """All generations of a jid go together."""

    def remove(self, jid: str, generation: str) -> bool:
        for item in list(super().owned()):
            if item.observed.jid == jid:
                super().remove(jid, item.observed.generation)
        return True


class RemovesByGeneration(MockBackend):
    """The jid is not looked at."""

    def remove(self, jid: str, generation: str) -> bool:
        found = self._present(generation)
        return super().remove(found[0].jid if found else jid, generation)


class MissesTheRemoved(MockBackend):
    """A second remove is an error."""

    def remove(self, jid: str, generation: str) -> bool:
        if self._present(generation) is None:
            raise Unavailable("404")
        return super().remove(jid, generation)

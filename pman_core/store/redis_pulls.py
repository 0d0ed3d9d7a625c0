"""Pulls of images in Redis: a part of :class:`pman_core.store.redis.RedisStore`; the work is in ``lua/pull_*.lua``."""

from collections.abc import Sequence
from typing import Any

from pman_core.store import wire
from pman_core.store.policy import Policy
from pman_core.store.pulls import Joined, Pull, Waiter

SCRIPT_NAMES = ("pull_end", "pull_join", "pull_tell")


class RedisPulls:
    """See :class:`pman_core.store.pulls.Pulls` for what each method promises."""

    _policy: Policy

    def _run(self, script: str, *args: str | int | float) -> Any:
        raise NotImplementedError

    def join_pull(self, pull: Pull, jid: str, generation: str, lease_s: float) -> Joined:
        args = (pull.backend, pull.image, pull.token, round(lease_s * 1000), jid, generation, self._policy.requeue_ms)
        return Joined(self._run("pull_join", *args))

    def tell_pull(self, pull: Pull, message: str, lease_s: float) -> Sequence[Waiter] | None:
        text = wire.clip_message(message)
        reply = self._run("pull_tell", pull.backend, pull.image, pull.token, round(lease_s * 1000), text)
        return None if reply == "lost" else _waiters(reply)

    def end_pull(self, pull: Pull, *, fetched: bool, delay_s: float = 0.0, message: str = "") -> Sequence[Waiter]:
        delay_ms = self._policy.requeue_ms if fetched else round(delay_s * 1000)
        text = wire.clip_message(message)
        return _waiters(self._run("pull_end", pull.backend, pull.image, pull.token, int(fetched), delay_ms, text))


def _waiters(reply: list[str]) -> list[Waiter]:
    return [Waiter(*pair) for pair in zip(reply[::2], reply[1::2], strict=True)]

"""What a record takes of Redis, its indexes included, without a log; measured while :mod:`benchmarks.scale` writes.

``used_memory`` before and after, divided: what the server's allocator gave out, not what the texts add up to.
"""

from dataclasses import dataclass

from redis import Redis

from benchmarks.figure import Figure, Goal


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes in use: before anything was written, when ``count`` records were new, and when they had ended."""

    count: int
    before: int
    new: int
    ended: int

    def figures(self) -> list[Figure]:
        new, ended = (self.new - self.before) / self.count, (self.ended - self.before) / self.count
        largest_mib = 100_000 * max(new, ended) / 2**20
        return [
            Figure("record in Redis, new", Goal(2048, "at most"), new, "bytes"),
            Figure("record in Redis, ended", Goal(2048, "at most"), ended, "bytes"),
            Figure(
                "100,000 jobs in Redis", Goal(250, "at most"), largest_mib, "MiB",
                note=f"from {self.count:,} ended records",
            ),
        ]  # fmt: skip


def used_bytes(url: str) -> int:
    with Redis.from_url(url) as redis:
        return int(redis.info("memory")["used_memory"])

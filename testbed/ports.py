"""Ports for servers that are ended and started again by what tests and benchmarks do, without anybody in between.

A port that the kernel gives away by itself (``bind`` to 0) may be given to somebody else as soon as it is closed.
"""

import socket
from contextlib import suppress
from random import SystemRandom

PORTS = range(18_000, 30_000)
"""Below those of the kernel's own choice (from 32768 on) and of Kubernetes (from 30000 on), above those of services;
from 17001 on are the nodes of the testbed's Slurm, which tests end and start again."""

_claims: dict[int, socket.socket] = {}
"""Abstract Unix sockets, one for each port given away: whoever asks here sees them, and they end with this process."""


def free_port() -> int:
    """Return a port of the loopback that is unused, and that nobody else is given while this process lives.

    Or until it is given back.

    Raises:
        RuntimeError: there is none.
    """
    # Not by the common generator: every process of a test run is given the same seed.
    first = SystemRandom().randrange(len(PORTS))
    for port in (*PORTS[first:], *PORTS[:first]):
        claim = socket.socket(socket.AF_UNIX)
        with suppress(OSError), socket.socket() as probe:
            claim.bind(f"\0pman-port-{port}")
            probe.bind(("127.0.0.1", port))
            _claims[port] = claim
            return port
        claim.close()
    raise RuntimeError("no port is free")


def give_back(port: int) -> None:
    """Let others be given a port. One that was not given away here is no fault."""
    if claim := _claims.pop(port, None):
        claim.close()

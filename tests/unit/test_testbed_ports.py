"""A port of the testbed is given to one only, in whatever process it asks."""

import socket
import subprocess
import sys

import pytest

from testbed import ports
from testbed.ports import free_port

ASKS = "from testbed import ports; ports.PORTS = range(%d, %d); print(ports.free_port())"


def test_no_port_is_given_twice_though_nobody_listens_on_it() -> None:
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert all(port in ports.PORTS for port in given)


def test_another_process_is_given_another_port_until_it_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PORTS", range(16_900, 17_000))  # nobody else looks there
    mine = free_port()
    asks = [sys.executable, "-c", ASKS % (mine, mine + 1)]
    assert "no port is free" in subprocess.run(asks, capture_output=True, text=True, check=False).stderr
    for _ in range(2):
        ports.give_back(mine)
    assert subprocess.run(asks, capture_output=True, text=True, check=False).stdout == f"{mine}\n"


def test_a_port_that_somebody_listens_on_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "PORTS", range(taken, taken + 1))
        with pytest.raises(RuntimeError, match="no port is free"):
            free_port()

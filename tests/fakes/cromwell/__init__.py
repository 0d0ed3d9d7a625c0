"""A Cromwell 92 for tests: a real HTTP server, and behind it an engine that runs workflows on the site's scheduler.

It behaves as a real one was recorded (``tests/recorded/cromwell``); ``tests/unit/test_cromwell_fidelity.py`` holds it
to that. It is started with a site's `.conf`, or with :data:`LOCAL`, where a session of this machine is a job. All that
it has written survives :meth:`FakeCromwell.kill`; what goes wrong is ordered by ``faults``.
"""

import signal
import threading
from pathlib import Path

from testbed.ports import give_back
from tests.fakes.cromwell.api import Api
from tests.fakes.cromwell.engine import Engine
from tests.fakes.cromwell.replies import Refused, fail
from tests.fakes.cromwell.server import Server
from tests.fakes.cromwell.site import Site, read_site
from tests.fakes.cromwell.store import Store, Workflow
from tests.fakes.cromwell.timing import DEFAULT, FAST, Timing
from tests.fakes.kube_api.faults import Faults

__all__ = ["DEFAULT", "FAST", "LOCAL", "FakeCromwell", "Faults", "Refused", "Site", "Timing", "fail", "read_site"]

LOCAL = read_site(Path(__file__).with_name("local.conf")).but(exit_code_timeout_s=0.3, timing=FAST)
"""``local.conf``, in a hurry."""


class FakeCromwell:
    """A server with its database in ``folder``; use it as a context manager."""

    def __init__(self, folder: Path, site: Site = LOCAL, port: int = 0) -> None:
        self.folder = folder
        self.site = site if site.root.is_absolute() else site.but(root=folder / site.root)
        self.faults = Faults()
        self.store = Store(folder / "database")
        self.engine: Engine | None = None
        self.server = Server(self.faults, port)

    def __enter__(self) -> "FakeCromwell":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def workflows(self) -> list[Workflow]:
        return self.store.all()

    def hurry(self, period: str) -> None:
        """See :meth:`Engine.hurry`."""
        assert self.engine is not None
        self.engine.hurry(period)

    def start(self) -> None:
        """Begin, or come back after :meth:`stop` and :meth:`kill`, at the same address."""
        self.store.load()
        self.engine = Engine(self.store, self.site)
        self.engine.start()
        self.server.start(Api(self.store, self.site.backend))

    def stop(self) -> None:
        """End as after SIGTERM. Jobs go on."""
        self.server.stop()
        if self.engine is not None:
            self.engine.stop()

    def kill(self) -> None:
        """End as after SIGKILL: what was not yet written is lost. Jobs go on."""
        self.server.stop()
        if self.engine is not None:
            self.engine.kill()

    def close(self) -> None:
        """End the server and everybody who hangs. Jobs go on."""
        self.faults.release()
        self.kill()
        give_back(self.server.port)


def serve(conf: Path, folder: Path, port: int, scale: float) -> None:
    """Run one in this process until SIGTERM; ``scale`` shortens all that the `.conf` says of time."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    site = read_site(conf)
    cromwell = FakeCromwell(folder, site.but(timing=site.timing.scaled(scale)), port)
    cromwell.start()
    over.wait()
    cromwell.stop()

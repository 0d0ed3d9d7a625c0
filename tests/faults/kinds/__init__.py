"""Every kind of fault. A new one is a class in one of these modules and a line here."""

from collections.abc import Sequence

from tests.faults.kinds.base import Fault
from tests.faults.kinds.cromwell import CROMWELL
from tests.faults.kinds.engine import ENGINE
from tests.faults.kinds.kubernetes import CLUSTER
from tests.faults.kinds.messages import MESSAGES
from tests.faults.kinds.network import NETWORK
from tests.faults.kinds.processes import PROCESSES
from tests.faults.kinds.redis import REDIS, WIPE
from tests.faults.kinds.scheduler import SCHEDULER
from tests.faults.kinds.store import STORE

ALL: Sequence[Fault] = (*PROCESSES, *REDIS, *NETWORK, *MESSAGES, *SCHEDULER, *STORE, *ENGINE, *CLUSTER, *CROMWELL)
"""A wipe is not among them: it is asked for by itself, because jobs may be lost in it."""


def of_backend(backend: str) -> dict[str, Fault]:
    """Return the faults that a system on this backend can suffer, by their name; a wipe is one of them."""
    suffered = (*ALL, WIPE)
    return {fault.name: fault for fault in suffered if not fault.backends or backend in fault.backends}

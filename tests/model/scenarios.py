"""The scenarios: what is asked for, and which faults may happen how often, at every point there is.

Each is small enough to be looked at whole. Together they cover the ten rules as far as these need no network: see the
table in ``mutations.py``. ``fast`` ones are part of every test run.
"""

from tests.model.point import Scenario
from tests.model.programs import Setup

ONCE = ("POST a",)
AGAIN = ("POST a", "DELETE", "POST b")

FAST = (
    Scenario("a crash", (ONCE,), {"crash": 1, "lease passes": 1, "finish": 1, "poll": 1}),
    Scenario("deleted", (("POST a", "DELETE"),), {"lease passes": 1, "removals": 1}, workers=1),
)

EXHAUSTIVE = (
    Scenario(
        "submit",
        (ONCE,),
        {"crash": 1, "lease passes": 1, "duplicate": 1, "answer lost": 1, "due": 1, "finish": 1, "poll": 1},
    ),
    Scenario(
        "the store's answers are lost",
        (("POST a", "POST a"),),
        {"store answer lost": 1, "message lost": 1, "lease passes": 1, "due": 1, "finish": 1, "poll": 1},
    ),
    Scenario("rejected", (ONCE,), {"reject": 1, "crash": 1, "lease passes": 1, "duplicate": 1, "finish": 1, "poll": 1}),
    Scenario(
        "two observers",
        (ONCE,),
        {"run": 1, "finish": 1, "poll": 3, "handover": 1, "crash": 1, "lease passes": 1},
        workers=1,
        observers=2,
    ),
    Scenario(
        "late listings",
        (ONCE,),
        {"lag": 3, "poll": 4, "lease passes": 2, "handover": 1},
        workers=1,
        observers=2,
    ),
    Scenario(
        "the scheduler forgets",
        (ONCE,),
        {"vanish": 1, "poll": 4, "lease passes": 3, "crash": 1, "removals": 1},
        workers=1,
    ),
    Scenario(
        "poison",
        (ONCE,),
        {"crash": 2, "lease passes": 2, "fence passes": 1, "finish": 1},
        Setup.of(submit_attempts_max=1),
    ),
    Scenario(
        "wiped, posted again",
        (("POST a", "POST a"),),
        {"wipe": 1, "epoch": 2, "lease passes": 1, "crash": 1, "finish": 1},
    ),
    Scenario(
        "wiped, another body",
        (("POST a", "POST b"),),
        {"wipe": 1, "epoch": 2, "lease passes": 1, "crash": 1, "finish": 1, "removals": 1},
    ),
    Scenario(
        "wiped, deleted",
        (("POST a", "DELETE"),),
        {"wipe": 1, "epoch": 2, "lease passes": 1, "finish": 1, "removals": 1},
        workers=1,
    ),
    Scenario(
        "wiped, objects are kept",
        (AGAIN,),
        {"wipe": 1, "epoch": 2, "lease passes": 1, "removals": 1},
        Setup.of(remove_jobs=False),
        workers=1,
        has_job=True,
    ),
    Scenario(
        "half made",
        (("POST a", "DELETE"),),
        {"crash": 1, "lease passes": 1, "removals": 1},
        Setup.of(in_two_steps=True),
        workers=1,
    ),
    Scenario("posted again", (AGAIN,), {"removals": 1, "finish": 1}, has_job=True),
    Scenario("posted again after a sleep", (AGAIN,), {"lease passes": 1, "removals": 1}, workers=1),
    Scenario(
        "objects are kept",
        (AGAIN,),
        {"lease passes": 1, "removals": 1, "finish": 1},
        Setup.of(remove_jobs=False),
        workers=1,
    ),
    Scenario("a race", (ONCE, ("DELETE",), ("POST b",)), {"removals": 1}, workers=1),
)

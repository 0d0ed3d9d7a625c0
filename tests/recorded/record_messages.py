"""Record the messages that this release writes: ``python -m tests.recorded.record_messages NAME``.

To be run once for each change of their format. Workers of every later release must understand the recordings:
``tests/faults/test_messages.py`` has a real one execute them.
"""

import json
import sys
from pathlib import Path

from pman_core.broker import make_celery
from pman_core.envelope import build_envelope
from pman_core.queues import PURPOSE, Task, queue_name
from pman_core.settings import load_settings

FOLDER = Path(__file__).parent / "messages"
JID, GENERATION = "recorded-jid", "01m89000000000000000000000"


def main() -> None:
    app = make_celery(load_settings(container_env="process", storebase=Path("/store")))
    messages = {}
    for task in Task:
        text = build_envelope(app, task, JID, GENERATION, queue_name("process", PURPOSE[task]))
        message = json.loads(text)
        message["headers"]["origin"] = "gen1@api"
        messages[task.value] = message
    (FOLDER / f"{sys.argv[1]}.json").write_text(json.dumps(messages, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""A client that runs in a pod: posts jobs to pman's Service, one after the other, and waits until each has ended.

Its standard input is a JSON object: ``url``, ``jobs`` (bodies of POST), ``every_s`` between two, ``patience_s``.
Once there is a file ``/tmp/enough`` it posts no more. In the end it writes to ``/tmp/records`` the record of each job
that it has posted, by jid. As pfcon does, it repeats what was not answered; that is safe, and part of what is tested.
So it does not forget a job whose POST was not answered yet, for pman may have it.
"""

import json
import sys
import time
from pathlib import Path

import requests

ENDS = {"finishedSuccessfully", "finishedWithError", "undefined"}


def ask(method: str, url: str, expected: int, **options: object) -> requests.Response | None:
    """Return the reply if it is the expected one; whatever else happens is worth another try."""
    try:
        reply = requests.request(method, url, timeout=10, **options)  # type: ignore[arg-type]
    except requests.RequestException:
        return None
    if reply.status_code != expected and reply.status_code < 500:
        raise SystemExit(f"{method} {url}: {reply.status_code} {reply.text}")
    return reply if reply.status_code == expected else None


def main() -> None:
    given = json.load(sys.stdin)
    url, waiting, next_s = given["url"], list(given["jobs"]), 0.0
    end_s = time.monotonic() + given["patience_s"]
    records: dict[str, dict[str, object]] = {}
    unanswered = 0
    while time.monotonic() < end_s:
        if Path("/tmp/enough").exists():
            del waiting[unanswered:]
        if waiting and time.monotonic() >= next_s:
            unanswered = 1
            reply = ask("POST", f"{url}/api/v1/", 201, json=waiting[0])
            if reply is not None:
                unanswered = 0
                waiting.pop(0)
                records[reply.json()["jid"]] = reply.json()
                next_s = time.monotonic() + given["every_s"]
        running = [jid for jid, record in records.items() if record["status"] not in ENDS]
        if not waiting and not running:
            break
        for jid in running:
            reply = ask("GET", f"{url}/api/v1/{jid}/", 200)
            if reply is not None:
                records[jid] = reply.json()
        time.sleep(0.5)
    Path("/tmp/records").write_text(json.dumps(records))


main()

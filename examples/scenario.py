"""The life of jobs as the old pman's own test had it, against a pman that runs: create, poll, logs, delete.

python examples/scenario.py --url http://127.0.0.1:5010 --image busybox:test [--storebase /where/pman/keeps/the/data]

It is the quickest way to see whether a new site works, on any scheduler whose nodes have the image and its `sh`. With
`--storebase`, on a machine that sees the data, it also looks at what a job has written. Exits 0 if all is well.
"""

import argparse
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import requests

FINISHED = {"finishedSuccessfully", "finishedWithError", "undefined"}
TIMEOUT_S = 10


class Unexpected(Exception):
    pass


class Scenario:
    def __init__(self, url: str, image: str, patience_s: float, store_base: Path | None) -> None:
        self.api = f"{url.rstrip('/')}/api/v1/"
        self.image = image
        self.patience_s = patience_s
        self.store_base = store_base
        self.jids: list[str] = []

    def run(self) -> None:
        self.a_job_succeeds()
        self.a_job_fails_and_says_so()
        self.a_running_job_is_deleted()

    def a_job_succeeds(self) -> None:
        jid = self.create('echo working; echo result > "$1/result"')
        record = self.poll(jid, FINISHED)
        self.expect(record, status="finishedSuccessfully", exit_code=0)
        if "working" not in record["logs"]:
            raise Unexpected(f"the log of {jid} is {record['logs']!r}")
        if self.store_base:
            result = self.store_base / jid / "outgoing" / "result"
            if not result.exists() or result.read_text() != "result\n":
                raise Unexpected(f"{result} is not what the job has written: is that pman's STOREBASE?")
        self.delete(jid)
        say("a job succeeds: it has its log and its result")

    def a_job_fails_and_says_so(self) -> None:
        jid = self.create("echo sorry; exit 7")
        self.expect(self.poll(jid, FINISHED), status="finishedWithError", exit_code=7)
        self.delete(jid)
        say("a job fails: it has its exit code")

    def a_running_job_is_deleted(self) -> None:
        jid = self.create("echo working; sleep 600")
        self.poll(jid, {"started"})
        self.delete(jid)
        self.delete(jid)  # again, as often as one likes
        say("a running job is deleted")

    def create(self, script: str) -> str:
        """Hand in a job, twice: the second time must change nothing."""
        jid = f"scenario-{uuid.uuid4()}"
        body = {
            "jid": jid,
            "image": self.image,
            "entrypoint": ["sh", "-c", script, "job"],
            "args": [],
            "type": "fs",
            "auid": "cube",
            "number_of_workers": "1",
            "cpu_limit": "1000",
            "memory_limit": "200",
            "gpu_limit": "0",
            "input_dir": f"{jid}/incoming",
            "output_dir": f"{jid}/outgoing",
        }
        self.jids.append(jid)
        for _ in range(2):
            self.call("POST", "", 201, json=body)
        return jid

    def poll(self, jid: str, statuses: set[str]) -> dict[str, Any]:
        end_s = time.monotonic() + self.patience_s
        while True:
            record: dict[str, Any] = self.call("GET", f"{jid}/", 200).json()
            if record["status"] in statuses:
                return record
            if record["status"] in FINISHED or time.monotonic() > end_s:
                raise Unexpected(f"{jid} is {record['status']}, not {' or '.join(sorted(statuses))}: {record}")
            time.sleep(0.5)

    def delete(self, jid: str) -> None:
        self.call("DELETE", f"{jid}/", 204)
        self.call("GET", f"{jid}/", 404)

    def call(self, method: str, path: str, status: int, **options: Any) -> requests.Response:
        reply = requests.request(method, self.api + path, timeout=TIMEOUT_S, **options)
        if reply.status_code != status:
            raise Unexpected(f"{method} {path}: {reply.status_code} instead of {status}: {reply.text}")
        return reply

    @staticmethod
    def expect(record: dict[str, Any], **fields: object) -> None:
        for name, value in fields.items():
            if record[name] != value:
                raise Unexpected(f"{name} is {record[name]!r} instead of {value!r}: {record}")

    def clean(self) -> None:
        for jid in self.jids:
            requests.delete(f"{self.api}{jid}/", timeout=TIMEOUT_S)


def say(text: str) -> None:
    print(f"ok  {text}", flush=True)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url", default="http://127.0.0.1:5010")
    arguments.add_argument("--image", default="docker.io/library/busybox:latest")
    arguments.add_argument("--patience-s", type=float, default=120, help="for each change of a job (default 120)")
    arguments.add_argument("--storebase", type=Path, help="pman's STOREBASE, if this machine sees it")
    options = arguments.parse_args()
    scenario = Scenario(options.url, options.image, options.patience_s, options.storebase)
    try:
        scenario.run()
    except (Unexpected, requests.RequestException) as error:
        print(f"not ok  {error}", file=sys.stderr)
        return 1
    finally:
        try:
            scenario.clean()
        except requests.RequestException:
            print(f"left behind: {' '.join(scenario.jids)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One job over HTTP, with `requests` alone: create it, poll it, read its log, delete it.

python examples/client.py [--url http://127.0.0.1:5010] [--image docker.io/library/busybox:latest]

Every call may be repeated when it has failed on its way, the POST too: pman tells a repetition by the jid and the body.
`pman_client.PmanClient` does that, with time-outs and errors that say what to do.
"""

import argparse
import sys
import time
import uuid

import requests

TIMEOUT_S = 10


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--url", default="http://127.0.0.1:5010")
    arguments.add_argument("--image", default="docker.io/library/busybox:latest")
    options = arguments.parse_args()
    api = f"{options.url}/api/v1/"
    jid = f"client-{uuid.uuid4()}"

    job = {
        "jid": jid,
        "image": options.image,
        "entrypoint": ["sh", "-c", 'echo working; date > "$1/when"', "job"],
        "args": [],
        "type": "fs",  # "/share/outgoing" is appended to the arguments; of "ds" "/share/incoming" is, too
        "input_dir": f"{jid}/incoming",  # both below pman's STOREBASE
        "output_dir": f"{jid}/outgoing",
        "auid": "me",
        "number_of_workers": 1,
        "cpu_limit": 1000,  # millicores
        "memory_limit": 200,  # MiB
        "gpu_limit": 0,
    }
    reply = requests.post(api, json=job, timeout=TIMEOUT_S)
    if not reply.ok:
        sys.exit(f"{reply.status_code}: {reply.json()['message']}")  # with every fault named

    record = reply.json()
    while record["status"] in {"notstarted", "started"}:
        time.sleep(1)
        record = requests.get(f"{api}{jid}/", timeout=TIMEOUT_S).json()
    print(f"{record['jid']}: {record['status']}, exit code {record['exit_code']} {record['message']}")
    print(record["logs"], end="")

    requests.delete(f"{api}{jid}/", timeout=TIMEOUT_S).raise_for_status()
    return 0 if record["status"] == "finishedSuccessfully" else 1


if __name__ == "__main__":
    sys.exit(main())

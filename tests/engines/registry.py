"""The registries of ``testbed/registry/up.sh``, and images made there by hand: pushed by no engine, known to none."""

import hashlib
import json
import os
import secrets
from typing import Any

import requests

OPEN = f"127.0.0.1:{os.environ.get('REGISTRY_PORT', '5000')}"
PRIVATE = f"127.0.0.1:{os.environ.get('REGISTRY_PRIVATE_PORT', '5001')}"
SMALL = f"{OPEN}/pman/test:1"
BIG = f"{OPEN}/pman/big:1"
SECRET = f"{PRIVATE}/private/test:1"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def lack() -> str:
    """Say what is missing, or ``""``."""
    try:
        is_there = _ask("GET", "pman/test/tags/list").ok
    except requests.ConnectionError:
        is_there = False
    return "" if is_there else f"no registry at {OPEN}; testbed/registry/up.sh starts one"


def new_image(label: str = "") -> str:
    """Make an image that is there for this test alone: the small one with a label. Returns its name."""
    name = f"{OPEN}/pman/test:t{secrets.token_hex(6)}"
    move(name, label)
    return name


def move(name: str, label: str) -> None:
    """Let the tag of ``name`` be the small image with another label."""
    manifest = _ask("GET", "pman/test/manifests/1", headers={"Accept": MANIFEST}).json()
    config = _ask("GET", f"pman/test/blobs/{manifest['config']['digest']}").json()
    config["config"]["Labels"] = {"label": label, "name": name}
    content = json.dumps(config).encode()
    manifest["config"] |= {"digest": _upload(content), "size": len(content)}
    tag = name.rpartition(":")[2]
    _ask("PUT", f"pman/test/manifests/{tag}", data=json.dumps(manifest), headers={"Content-Type": MANIFEST})


def _upload(content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    place = _ask("POST", "pman/test/blobs/uploads/").headers["Location"]
    reply = requests.put(place, params={"digest": digest}, data=content, timeout=60)
    reply.raise_for_status()
    return digest


def _ask(method: str, path: str, **options: Any) -> requests.Response:
    reply = requests.request(method, f"http://{OPEN}/v2/{path}", timeout=60, **options)
    reply.raise_for_status()
    return reply

"""Fetching an image: what the engine's stream of progress says, for people, and how it fails.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImageCreate
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from docker.errors import APIError

from backends._engine.client import Client, SilentUnavailable, translated
from backends._engine.errors import Doing, explain
from pman_core.errors import BackendError, RegistryAway, Rejected, Unavailable
from pman_core.states import Reason

MIB = 2**20


class Progress:
    """Adds up the layers of one pull. Podman tells no sizes; then only its own words are passed on."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._bytes: dict[str, tuple[int, int]] = {}
        self._layers: dict[str, str] = {}

    def take(self, line: Mapping[str, Any]) -> str:
        """Take one line of the stream; return how far it is."""
        layer, status = str(line.get("id", "")), str(line.get("status") or line.get("stream") or "").strip()
        detail = line.get("progressDetail") or {}
        if layer and not status.startswith("Pulling from"):
            self._layers[layer] = status
        if status == "Downloading" and detail.get("total"):
            self._bytes[layer] = (int(detail["current"]), int(detail["total"]))
        elif status in {"Download complete", "Pull complete"} and layer in self._bytes:
            self._bytes[layer] = (self._bytes[layer][1],) * 2
        if not self._bytes:
            return f"pulling {self._image}: {status}"
        done, total = (sum(amounts) / MIB for amounts in zip(*self._bytes.values(), strict=True))
        complete = sum(word in {"Pull complete", "Already exists"} for word in self._layers.values())
        return (
            f"pulling {self._image}: {done:.1f} of {total:.1f} MiB, {complete} of {len(self._layers)} layers unpacked"
        )


def pull(client: Client, image: str, tell: Callable[[str], None], timeout_s: float) -> None:
    """Fetch ``image``, with one attempt.

    Raises:
        Rejected: with IMAGE_PULL: the registry refuses, there is no space, or the time is up.
        RegistryAway: the registry does not answer, or falls silent.
        Unavailable: the engine does not answer.
    """
    until_s = time.monotonic() + timeout_s
    try:
        with translated(Doing.PULL, image):
            _follow(client, image, tell, until_s, timeout_s)
    except SilentUnavailable as error:
        with translated(Doing.ASK):
            client.ping()
        raise RegistryAway(f"pulling {image}: the registry has fallen silent") from error


def _follow(client: Client, image: str, tell: Callable[[str], None], until_s: float, timeout_s: float) -> None:
    progress = Progress(image)
    try:
        stream = client.pull(image, stream=True, decode=True)
    except APIError as error:
        status = error.response.status_code if error.response is not None else 500
        raise _meaning(image, status, str(error.explanation or error)) from error
    try:
        for line in stream:
            if "error" in line:
                # Podman's reply is 200 whatever happens, and so is Docker's once it has begun.
                raise _meaning(image, 500, str(line["error"]))
            tell(progress.take(line))
            if time.monotonic() > until_s:
                raise Rejected(f"pulling {image} took more than {timeout_s:g} s", Reason.IMAGE_PULL)
    finally:
        stream.close()


def _meaning(image: str, status: int, text: str) -> BackendError:
    error = explain(Doing.PULL, status, text, image)
    if isinstance(error, Unavailable):
        return RegistryAway(f"pulling {image}: {error}")
    if isinstance(error, Rejected):
        return Rejected(f"pulling {image}: {error}", error.reason)
    return error

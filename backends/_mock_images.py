"""The images that the mock's scheduler has not got, or has to ask for. Only :mod:`backends.mock` imports this.

::

    images/<name>           a script (Image): this image is missing until a pull of it has succeeded
    images/<name>.there     that has happened
    images/first            there: every image must be pulled before every submit
    attempts/pull.<name>    as many bytes as pulls have begun

A name is a hash, because an image's own may be no file name. An image without a script is there.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backends._mock_folder import Folder
from pman_core.errors import Rejected, Unavailable
from pman_core.states import Reason

TICK_S = 0.02


class Image(BaseModel):
    """How the pull of one image goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pull_for_s: Annotated[float, Field(ge=0)] = 0.0
    """It takes so long, and says how far it is all the time. A new script may change that while it goes on."""
    rejected: str = ""
    """Then the registry refuses, with this text."""
    unavailable_times: Annotated[int, Field(ge=0)] = 0
    """The first pulls find no scheduler."""


class Images:
    """What there is in one folder of the mock; any number of processes share it."""

    def __init__(self, folder: Folder) -> None:
        self._attempts = folder
        self._folder = folder.path / "images"

    def put(self, name: str, image: Image) -> None:
        """Let the image ``name`` be missing (again), and its pull go as ``image`` says."""
        self._folder.mkdir(exist_ok=True)
        self._path(name, ".there").unlink(missing_ok=True)
        draft = self._path(name, ".draft")
        draft.write_text(image.model_dump_json())
        draft.replace(self._path(name))

    def must_be_pulled_first(self) -> None:
        self._folder.mkdir(exist_ok=True)
        (self._folder / "first").touch()

    @property
    def pulls_first(self) -> bool:
        return (self._folder / "first").exists()

    def is_missing(self, name: str) -> bool:
        return self._folder.exists() and self._path(name).exists() and not self._path(name, ".there").exists()

    def pulls(self, name: str) -> int:
        """Count the pulls of the image that have begun."""
        path = self._attempts.path / "attempts" / f"pull.{_hash(name)}"
        return path.stat().st_size if path.exists() else 0

    def pull(self, name: str, tell: Callable[[str], None]) -> None:
        """Do as the script says; see ``Backend.pull``."""
        attempt = self._attempts.attempt(f"pull.{_hash(name)}")
        begun_s = time.monotonic()
        while (passed_s := time.monotonic() - begun_s) < (image := self._script(name)).pull_for_s:
            tell(f"pulling {name}: {passed_s / image.pull_for_s:.0%}")
            time.sleep(TICK_S)
        if attempt <= image.unavailable_times:
            raise Unavailable("the script says that the scheduler is away")
        if image.rejected:
            raise Rejected(f"pulling {name}: {image.rejected}", Reason.IMAGE_PULL)
        self._folder.mkdir(exist_ok=True)
        self._path(name, ".there").touch()

    def _script(self, name: str) -> Image:
        path = self._path(name)
        return Image.model_validate_json(path.read_bytes()) if path.exists() else Image()

    def _path(self, name: str, suffix: str = "") -> Path:
        return self._folder / f"{_hash(name)}{suffix}"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()

"""The settings of the backend ``cromwell``; its address, CROMWELL_URL, is one of pman's own."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from backends._cromwell.workflow import RESERVED_NAMES
from backends._hpc.settings import HpcSettings
from pman_core.settings import Pairs

ATTRIBUTE_VALUE_CHARS_MAX = 255


def _attributes(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for name, value in pairs:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in RESERVED_NAMES:
            raise ValueError(f"{name!r} cannot be the name of a runtime attribute here")
        if len(value) > ATTRIBUTE_VALUE_CHARS_MAX:
            raise ValueError(f"the value of {name} must have at most {ATTRIBUTE_VALUE_CHARS_MAX} characters")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("names a runtime attribute twice")
    return pairs


class CromwellSettings(HpcSettings):
    """The settings of this backend, those of every HPC backend among them. Empty variables count as not set."""

    cromwell_timeout_s: Annotated[float, Field(gt=0, le=10)] = 10.0
    """For every call of the server."""
    cromwell_runtime_attributes: Annotated[Pairs, AfterValidator(_attributes)] = ()
    """Runtime attributes of every job beside those of its request: the partition, the account ... of the site."""
    gpus: Literal["auto", "yes", "no"] = "auto"
    """Whether the site's configuration knows the attribute ``gpus``. A server does not tell: ``auto`` is no."""

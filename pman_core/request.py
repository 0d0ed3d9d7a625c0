"""The body of a POST: what is allowed in it, its canonical form and its digest.

Pure: no I/O, no settings. The wire names (``cpu_limit`` ...) are aliases of names that carry their unit.
"""

import hashlib
import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from pman_core.errors import Fault, InvalidRequest

JID_PATTERN = re.compile(r"[A-Za-z0-9._~-]{1,253}")
LIMIT_MAX = 2**31 - 1
ELEMENTS_MAX = 10_000  # of one list: naming the faults of half a million elements took ten seconds


def _fault(message: str) -> PydanticCustomError:
    # A lone brace would be read as a placeholder of the message template.
    return PydanticCustomError("pman", "{text}", {"text": message})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _fault("must be a string")
    if "\0" in value:
        raise _fault("must not contain the NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _fault("must be valid Unicode: it holds half of a surrogate pair") from None
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise _fault("must not be empty")
    return value


def _integer(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _fault("must be a whole number, or a string of digits")
    return value


def _list(value: object) -> object:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise _fault("must be a list of strings")
    if len(value) > ELEMENTS_MAX:
        raise _fault(f"must have at most {ELEMENTS_MAX} elements")
    return value


def _program_first(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value[0].strip():
        raise _fault("must begin with the program to run: its first element is empty")
    return value


def normalize_jid(raw: str) -> str:
    """Return ``raw`` without leading and trailing slashes.

    Raises:
        ValueError: it is not 1-253 characters of ``[A-Za-z0-9._~-]``, or it is ``.`` or ``..``.
    """
    jid = raw.strip("/")
    if not JID_PATTERN.fullmatch(jid) or jid in {".", ".."}:
        raise ValueError("must be 1 to 253 characters of A-Z a-z 0-9 . _ ~ - and neither '.' nor '..'")
    return jid


def _jid(value: str) -> str:
    try:
        return normalize_jid(value)
    except ValueError as error:
        raise _fault(str(error)) from None


def _image(value: str) -> str:
    if value.startswith("-") or any(c.isspace() or not c.isprintable() for c in value):
        raise _fault("must be an image reference: no white space, no leading dash")
    return value


def _assignment(value: str) -> str:
    name, separator, _ = value.partition("=")
    if not separator or not name:
        raise _fault('must have the form "NAME=value"')
    return value


def _store_path(value: str) -> str:
    parts = [part for part in value.split("/") if part not in {"", "."}]
    if not parts:
        raise _fault("must name a folder below the store base, not the store base itself")
    if ".." in parts:
        raise _fault("must stay below the store base: '..' is not allowed")
    if parts[0] == CONTROL_FOLDER:
        raise _fault(f"must not be in {CONTROL_FOLDER}, which pman keeps for itself")
    return "/".join(parts)


CONTROL_FOLDER = ".pman"
"""The folder of the store base that belongs to pman: no job may read or write it."""

Text = Annotated[str, BeforeValidator(_text)]
Filled = Annotated[Text, AfterValidator(_filled)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_list)]
Natural = Annotated[int, BeforeValidator(_integer), Field(ge=0, le=LIMIT_MAX)]
Positive = Annotated[Natural, Field(ge=1)]
MaybePositive = Annotated[
    Annotated[int, Field(ge=1, le=LIMIT_MAX)] | None,
    BeforeValidator(lambda value: None if value is None else _integer(value)),
]
StorePath = Annotated[Text, Field(max_length=4096), AfterValidator(_store_path)]


class JobRequest(BaseModel):
    """A validated request. Equal requests have equal digests, however they were spelled."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    jid: Annotated[Text, AfterValidator(_jid)]
    args: Texts = ()
    args_path_flags: Annotated[Texts, AfterValidator(lambda flags: tuple(sorted(set(flags))))] = ()
    auid: Annotated[Text, Field(max_length=1024)]
    number_of_workers: Positive
    cpu_millicores: Positive = Field(alias="cpu_limit")
    memory_mib: Positive = Field(alias="memory_limit")
    gpus: Natural = Field(alias="gpu_limit")
    time_limit_minutes: MaybePositive = Field(default=None, alias="time_limit")
    """An addition to the old protocol; ``None``: the site's default. Then the canonical form is the old one."""
    image: Annotated[Filled, Field(max_length=1024), AfterValidator(_image)]
    entrypoint: Annotated[Texts, Field(min_length=1), AfterValidator(_program_first)]
    type: Literal["ds", "fs", "ts"]
    env: Annotated[tuple[Annotated[Text, AfterValidator(_assignment)], ...], BeforeValidator(_list)] = ()
    input_dir: StorePath
    output_dir: StorePath

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON: wire names, sorted keys, no white space, defaults filled in."""
        wire = self.model_dump(by_alias=True)
        if self.time_limit_minutes is None:
            del wire["time_limit"]
        return json.dumps(wire, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of :attr:`canonical` in hexadecimal: "the same body" of the wire contract."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    @classmethod
    def from_canonical(cls, text: str) -> "JobRequest":
        """Rebuild a request from its :attr:`canonical` text, which was validated when it was written.

        Raises:
            ValueError, KeyError, TypeError: the text is something else.
        """
        wire = json.loads(text)
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        known = {
            name: wire[key] if name not in optional else wire.get(key)
            for name, key in ((name, field.alias or name) for name, field in cls.model_fields.items())
        }
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in known.items()}
        request = cls.model_construct(**values)
        request.__dict__["canonical"] = text  # where the cached property would keep it
        return request


WIRE_FIELDS = frozenset(field.alias or name for name, field in JobRequest.model_fields.items())


def unknown_keys(body: dict[str, object]) -> list[str]:
    """Return the keys of ``body`` that the contract does not know; they are accepted and ignored."""
    return sorted(body.keys() - WIRE_FIELDS)


def parse_request(body: object) -> JobRequest:
    """Validate the decoded JSON ``body`` of a POST.

    Raises:
        InvalidRequest: with every fault at once, each named by its field on the wire.
    """
    if not isinstance(body, dict):
        raise InvalidRequest([Fault("body", "must be a JSON object")])
    # The Python names are a convenience of the constructor, not a second spelling on the wire.
    wire = {key: value for key, value in body.items() if key in WIRE_FIELDS}
    try:
        return JobRequest.model_validate(wire)
    except ValidationError as error:
        raise InvalidRequest([_to_fault(dict(item)) for item in error.errors(include_url=False)]) from None


_MESSAGES = {
    "missing": "is required",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "int_parsing_size": "must be at most " + str(LIMIT_MAX),
}


def _to_fault(item: dict[str, Any]) -> Fault:
    first, *rest = item["loc"]
    field = str(first) + "".join(f"[{step}]" for step in rest)
    template = _MESSAGES.get(item["type"])
    return Fault(field, template.format(**item.get("ctx", {})) if template else str(item["msg"]))

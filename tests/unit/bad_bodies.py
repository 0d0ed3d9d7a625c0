"""Bodies that no POST may accept, made by hand: each with the reply it must get and the field that must be named."""

import json
from dataclasses import dataclass
from typing import Any

from tests.unit.api_harness import PFCON_BODY

JSON = "application/json"


@dataclass(frozen=True)
class BadBody:
    name: str
    raw: bytes
    field: str = "body"
    """The field that ``errors`` must name; empty where the reply is no 400."""
    status: int = 400
    content_type: str | None = JSON


def _changed(name: str, field: str, value: Any, named: str = "") -> BadBody:
    """Make pfcon's body bad in one field; ``...`` leaves the field out."""
    body = {**PFCON_BODY, field: value}
    if value is ...:
        del body[field]
    return BadBody(name, json.dumps(body).encode(), named or field)


def _sent(name: str, content_type: str | None) -> BadBody:
    return BadBody(name, json.dumps(PFCON_BODY).encode(), "", 415, content_type)


_GOOD = json.dumps(PFCON_BODY).encode()
_REQUIRED = sorted(PFCON_BODY.keys() - {"args", "args_path_flags", "env"})

NOT_JSON = [
    BadBody("empty", b""),
    BadBody("white-space", b" \n\t "),
    BadBody("text", b"hello"),
    BadBody("cut-off", _GOOD[:-1]),
    BadBody("two-values", _GOOD + _GOOD),
    BadBody("single-quotes", b"{'jid': 'a'}"),
    BadBody("trailing-comma", b'{"jid": "a",}'),
    BadBody("form", b"jid=a&image=b"),
    BadBody("invalid-utf8", b'{"jid": "\xff\xfe"}'),
    BadBody("latin-1", '{"jid": "é"}'.encode("latin-1")),
    BadBody("utf-16", json.dumps(PFCON_BODY).encode("utf-16")),
    BadBody("utf-32", json.dumps(PFCON_BODY).encode("utf-32")),
    BadBody("byte-order-mark", b"\xef\xbb\xbf" + _GOOD),
    BadBody("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
    BadBody("nul-bytes", b"\0\0\0\0"),
    BadBody("control-character", b'{"jid": "a\nb"}'),
    BadBody("nan", _GOOD.replace(b'"1000"', b"NaN")),
    BadBody("infinity", _GOOD.replace(b'"1000"', b"Infinity")),
    BadBody("minus-infinity", _GOOD.replace(b'"1000"', b"-Infinity")),
    BadBody("nan-under-unknown-key", _GOOD[:-1] + b', "x": NaN}'),
    BadBody("deep-lists", b"[" * 100_000),
    BadBody("deep-lists-closed", b"[" * 100_000 + b"]" * 100_000),
    BadBody("deep-objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    BadBody("deep-under-unknown-key", _GOOD[:-1] + b', "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    BadBody("key-twice", _GOOD[:-1] + b', "jid": "second"}', "jid"),
    BadBody("key-twice-with-one-value", _GOOD[:-1] + b', "type": "fs"}', "type"),
    BadBody("key-twice-in-other-spelling", _GOOD[:-1] + b', "\\u006aid": "second"}', "jid"),
    BadBody("key-twice-below-unknown-key", _GOOD[:-1] + b', "x": [{"y": 1, "y": 1}]}', "y"),
    BadBody("huge-number", _GOOD.replace(b'"1000"', b"9" * 5_000)),
]

NO_OBJECT = [
    BadBody("list", b"[]"),
    BadBody("list-of-bodies", b"[" + _GOOD + b"]"),
    BadBody("string", b'"jid"'),
    BadBody("json-in-a-string", json.dumps(_GOOD.decode()).encode()),
    BadBody("number", b"42"),
    BadBody("true", b"true"),
    BadBody("null", b"null"),
]

MISSING = [
    BadBody("empty-object", b"{}", "jid"),
    *[_changed(f"missing-{field}", field, ...) for field in _REQUIRED],
    *[_changed(f"null-{field}", field, None) for field in _REQUIRED if field != "entrypoint"],
    _changed("null-entrypoint", "entrypoint", None),
]

JIDS = [
    *[
        _changed(f"jid-{name}", "jid", value)
        for name, value in {
            "empty": "",
            "slashes-only": "///",
            "dot": ".",
            "dot-dot": "..",
            "slashed-dot-dot": "/../",
            "slash-inside": "a/b",
            "space": "a b",
            "newline": "a\n",
            "nul": "a\0b",
            "percent": "a%2fb",
            "colon": "a:b",
            "star": "*",
            "unicode": "jób",
            "digits-of-another-script": "٣",
            "emoji": "🧠",
            "half-surrogate": "\ud800",
            "too-long": "a" * 254,
            "shell": "$(reboot)",
            "number": 1,
            "list": ["a"],
            "object": {"a": 1},
            "bool": True,
        }.items()
    ]
]

NUMBERS = [
    _changed(f"{field}-{name}", field, value)
    for field in ("number_of_workers", "cpu_limit", "memory_limit", "gpu_limit")
    for name, value in {
        "bool": True,
        "float": 1.5,
        "whole-float": 1.0,
        "exponent": 1e3,
        "overflow-to-infinity": "1e999",
        "negative": -1,
        "negative-string": "-1",
        "plus": "+1",
        "empty": "",
        "space": " 1",
        "unit": "200Mi",
        "millicores": "1000m",
        "hex": "0x10",
        "underscore": "1_000",
        "other-digits": "١٢",
        "superscript": "²",
        "too-big": 2**31,
        "too-big-string": str(2**31),
        "long-string": "9" * 5_000,
        "long-zeros": "0" * 11 + "1",
        "list": [1],
        "object": {},
    }.items()
] + [_changed(f"{field}-zero", field, "0") for field in ("number_of_workers", "cpu_limit", "memory_limit")]

LISTS = [
    _changed("args-string", "args", "--flag value"),
    _changed("args-object", "args", {"0": "a"}),
    _changed("args-number", "args", 1),
    _changed("args-with-number", "args", ["a", 1], "args[1]"),
    _changed("args-with-null", "args", [None], "args[0]"),
    _changed("args-with-list", "args", [["a"]], "args[0]"),
    _changed("args-with-bool", "args", ["a", "b", False], "args[2]"),
    _changed("args-with-nul", "args", ["a\0"], "args[0]"),
    _changed("args-with-half-surrogate", "args", ["\udfff"], "args[0]"),
    _changed("args-too-many", "args", ["a"] * 10_001),
    _changed("flags-string", "args_path_flags", "--in"),
    _changed("flags-with-number", "args_path_flags", [3], "args_path_flags[0]"),
    _changed("entrypoint-empty", "entrypoint", []),
    _changed("entrypoint-string", "entrypoint", "python3 app.py"),
    _changed("entrypoint-empty-program", "entrypoint", [""]),
    _changed("entrypoint-blank-program", "entrypoint", ["  ", "x"]),
    _changed("entrypoint-with-null", "entrypoint", [None], "entrypoint[0]"),
    _changed("entrypoint-with-nul", "entrypoint", ["python3", "\0"], "entrypoint[1]"),
    _changed("env-object", "env", {"A": "1"}),
    _changed("env-string", "env", "A=1"),
    _changed("env-without-equals", "env", ["A=1", "B"], "env[1]"),
    _changed("env-without-name", "env", ["=1"], "env[0]"),
    _changed("env-empty", "env", [""], "env[0]"),
    _changed("env-with-pair", "env", [["A", "1"]], "env[0]"),
    _changed("env-with-nul", "env", ["A=\0"], "env[0]"),
]

TEXTS = [
    _changed("auid-number", "auid", 7),
    _changed("auid-nul", "auid", "cube\0"),
    _changed("auid-long", "auid", "a" * 1025),
    _changed("image-empty", "image", ""),
    _changed("image-blank", "image", "  "),
    _changed("image-space", "image", "fnndsc/pl app"),
    _changed("image-newline", "image", "fnndsc/pl\n"),
    _changed("image-option", "image", "--privileged"),
    _changed("image-escape", "image", "fnndsc/pl\x1b[2J"),
    _changed("image-long", "image", "a" * 1025),
    _changed("image-list", "image", ["fnndsc/pl"]),
    _changed("type-unknown", "type", "xx"),
    _changed("type-upper-case", "type", "FS"),
    _changed("type-empty", "type", ""),
    _changed("type-list", "type", ["fs"]),
    _changed("type-object", "type", {"fs": 1}),
]

PATHS = [
    _changed(f"{field}-{name}", field, value)
    for field in ("input_dir", "output_dir")
    for name, value in {
        "empty": "",
        "root": "/",
        "slashes": "////",
        "dot": ".",
        "dots": "./././",
        "parent": "..",
        "parent-inside": "a/../b",
        "parent-first": "../etc",
        "parent-last": "a/..",
        "old-pman-hole": "../../../etc",
        "absolute-parent": "/../etc",
        "hidden-parent": "a/./.././../etc",
        "doubled-slashes": "a//..//..//etc",
        "control-folder": ".pman",
        "control-folder-below": ".pman/claims",
        "control-folder-behind-a-dot": "./.pman/claims",
        "control-folder-behind-dots": "././/.pman",
        "control-folder-absolute": "/.pman/claims",
        "nul": "a\0b",
        "half-surrogate": "a/\ud83d",
        "long": "a/" * 2_049,
        "number": 5,
        "list": ["a"],
    }.items()
]

WRONG_TYPE = [
    _sent("no-content-type", None),
    _sent("empty-content-type", ""),
    _sent("text-plain", "text/plain"),
    _sent("form-type", "application/x-www-form-urlencoded"),
    _sent("multipart", "multipart/form-data; boundary=x"),
    _sent("almost-json", "application/jsonp"),
    _sent("json-without-tree", "json"),
    _sent("text-json", "text/json"),
    _sent("nonsense-type", ";;;"),
]

TOO_BIG = [
    BadBody("ten-megabytes", b'{"jid": "' + b"a" * 10_000_000 + b'"}', "", 413),
    BadBody("ten-megabytes-of-space", b" " * 10_000_000, "", 413),
    BadBody("one-byte-too-many", _GOOD + b" " * (1024 * 1024 + 1 - len(_GOOD)), "", 413),
]

BAD_BODIES = [
    *NOT_JSON, *NO_OBJECT, *MISSING, *JIDS, *NUMBERS, *LISTS, *TEXTS, *PATHS, *WRONG_TYPE, *TOO_BIG,
]  # fmt: skip

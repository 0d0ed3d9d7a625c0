"""Bodies that are not quite what they should be: HTTP is right, what it carries is not."""

import json
import random
from collections.abc import Callable
from typing import Any

from tests.faults.fuzz import sentinels
from tests.faults.fuzz.exchange import Shot
from tests.faults.fuzz.good import JSON, Good, post
from tests.unit.bad_bodies import BAD_BODIES

CORPUS = [bad for bad in BAD_BODIES if len(bad.raw) < 300_000]
NASTY: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e308, 10**18, 10**4000, "", " ", "\0", "\ud800", "\U0010ffff", "a" * 100_000,
    "../../etc", "/", ".", "..", "%00", "%2e%2e%2f", "\r\nX: y", "${jndi:ldap://x}", "'; DROP TABLE jobs; --",
    "{{7*7}}", "\u202e", [], [[]], [None], ["\0"], ["a"] * 10_001, {}, {"$ref": "#"}, {"__class__": "x"},
    [{"a": [{"b": 1}]}], "NaN", "1e5", "١٢", "0x10", *sentinels.JIDS, [sentinels.DELETED],
]  # fmt: skip


def nasty_value(good: Good) -> Shot:
    """Return a body with nasty values in one to three fields."""
    body = good.body()
    for field in good.chance.sample(sorted(body), good.chance.randint(1, 3)):
        # A sentinel may be named: the body is another one than its own, so it is 409.
        body[field] = good.chance.choice(NASTY)
    if body.get("jid") == sentinels.DELETED:
        body["jid"] = None  # a new job of that jid would be in order
    return Shot("POST, nasty values", post(json.dumps(body).encode()), may_create=True)


def noise(good: Good) -> Shot:
    """Return a body with some of its bytes changed, left out, put in or repeated."""
    raw = bytearray(good.raw_body())
    for _ in range(good.chance.randint(1, 4)):
        _disturb(raw, good.chance)
    return Shot("POST, noise in the body", post(bytes(raw)), may_create=True)


def _disturb(raw: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(raw) + 1)
    end = min(len(raw), at + chance.choice([1, 1, 1, 10, 100]))
    match chance.randrange(5):
        case 0:
            raw[at:end] = chance.randbytes(end - at)
        case 1:
            del raw[at:end]
        case 2:
            raw[at:at] = raw[at:end] * chance.choice([1, 2, 50])
        case 3:
            raw[at:at] = chance.choice(
                [b"\0", b"\xff", b"\xc0\xaf", b'"', b"\\", b"{", b"]", b"\\ud800", b"\xed\xa0\x80"]
            )
        case _:
            raw[at:end] = raw[at:end].swapcase()


def from_corpus(good: Good) -> Shot:
    """Return a body that is known to be bad."""
    bad = good.chance.choice(CORPUS)
    head = f"Content-Type: {bad.content_type}\r\n" if bad.content_type is not None else ""
    return Shot("POST, corpus of bad bodies", post(bad.raw, head))


def key_twice(good: Good) -> Shot:
    """Return a body with a key given twice, in one spelling or two."""
    body = good.body()
    key = good.chance.choice(sorted(body))
    spelled = good.chance.choice([json.dumps(key), '"' + "".join(f"\\u{ord(letter):04x}" for letter in key) + '"'])
    value = json.dumps(good.chance.choice([body[key], *NASTY[:10]]))
    raw = json.dumps(body)[:-1] + f", {spelled}: {value}}}"
    return Shot("POST, a key twice", post(raw.encode()))


def deep(good: Good) -> Shot:
    """Return a body that is nested up to the limit of the parser, or over it, or said in numbers that are too long."""
    depth = good.chance.choice([900, 1100, 20_000, 200_000])
    opening, closing = good.chance.choice([("[", "]"), ('{"a":', "}")])
    value = opening * depth + "1" + closing * good.chance.choice([0, depth])
    value = good.chance.choice([value, value, "9" * depth, "1" + "0" * depth + "e-1", "-" * depth])
    raw = json.dumps(good.body())[:-1] + f', "x": {value}}}'
    return Shot("POST, deep or long", post(raw.encode()), may_create=True)


MEDIA_TYPES = [
    "text/plain", "application/jsonp", "application/json; charset=utf-16", "application/json;;;", "application/JSON",
    "*/*", "application/+json", "application/x+json", "json", "", ";", "multipart/form-data",
    "multipart/form-data; boundary=", "application/x-www-form-urlencoded", "application/json, text/html",
    "application/json\t", "\x80\xff", '"', "application/ld+json",
]  # fmt: skip


def media_type(good: Good) -> Shot:
    head = f"Content-Type: {good.chance.choice(MEDIA_TYPES)}\r\n"
    if good.chance.random() < 0.2:
        head += good.chance.choice([JSON, "Content-Encoding: gzip\r\n", "Content-Encoding: br, br\r\n"])
    return Shot("POST, media types", post(good.raw_body(), head), may_create=True)


MUTATIONS: dict[Callable[[Good], Shot], int] = {
    nasty_value: 12, noise: 12, from_corpus: 8, key_twice: 4, deep: 2, media_type: 4,
}  # fmt: skip
"""Each with its share."""

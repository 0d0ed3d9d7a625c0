"""Label and field selectors, as far as pman uses them: ``a=b,c!=d,e,!f,g in (h,i)`` and ``metadata.uid=x``.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

import re
from collections.abc import Mapping
from typing import Any

from tests.fakes.kube_api import refusals

SET_BASED = re.compile(r"(?P<key>[^\s!=,()]+)\s+(?P<how>in|notin)\s+\((?P<values>[^()]*)\)")
EQUAL = re.compile(r"(?P<key>[^\s!=,()]+)\s*(?P<how>==|=|!=)\s*(?P<value>[^\s!=,()]*)")
EXISTS = re.compile(r"(?P<not>!?)(?P<key>[^\s!=,()]+)")
PARTS = re.compile(r",(?![^()]*\))")


def matches_labels(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether the labels satisfy all parts. Raises ``Refused`` (400) if the selector cannot be read."""
    return all(_satisfies(part.strip(), selector, labels) for part in PARTS.split(selector) if part.strip())


def _satisfies(part: str, selector: str, labels: Mapping[str, str]) -> bool:
    if found := SET_BASED.fullmatch(part):
        is_in = labels.get(found["key"]) in {value.strip() for value in found["values"].split(",")}
        return is_in if found["how"] == "in" else not is_in
    if found := EQUAL.fullmatch(part):
        is_equal = labels.get(found["key"]) == found["value"]
        return is_equal if found["how"] != "!=" else not is_equal
    if found := EXISTS.fullmatch(part):
        return (found["key"] in labels) is not bool(found["not"])
    raise refusals.bad_request(f"unable to parse requirement: found '{part}' in {selector!r}")


def matches_fields(selector: str, found: Any) -> bool:
    """Whether the fields that are named by their paths have these values."""
    for part in filter(None, selector.split(",")):
        path, how, wanted = re.split(r"(==|!=|=)", part, maxsplit=1)
        value = found
        for name in path.split("."):
            value = (value or {}).get(name)
        if (str(value or "") == wanted) is (how == "!="):
            return False
    return True

"""The patches that an API server takes, as far as pman uses them.

A merge patch is RFC 7386. A strategic merge patch differs from it in lists that have a key; where a patch of pman's has
such a list, this fake refuses it, so that nobody relies on what is not here.
"""

from typing import Any

from tests.fakes.kube_api import refusals

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"


def patched(content_type: str, found: Any, patch: Any) -> Any:
    """Return the object after the patch. Raises ``Refused`` (415) for a kind of patch that is not here."""
    kind = content_type.partition(";")[0].strip()
    if kind not in {MERGE, STRATEGIC}:
        raise refusals.unsupported_media_type(kind)
    if kind == STRATEGIC and _has_lists(patch):
        raise refusals.bad_request("this fake does not merge lists strategically: use a merge patch")
    return merged(found, patch)


def merged(found: Any, patch: Any) -> Any:
    """Return ``found`` after a merge patch."""
    if not isinstance(patch, dict):
        return patch
    result = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _has_lists(patch: Any) -> bool:
    if isinstance(patch, dict):
        return any(_has_lists(value) for value in patch.values())
    return isinstance(patch, list) and any(isinstance(item, dict) for item in patch)

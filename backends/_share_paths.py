"""The two folders of the share, replaced by real ones, for the backends that run commands without a container. Pure."""

import re
from pathlib import Path

from pman_core.command import INCOMING, OUTGOING

_SHARE = re.compile(
    rf"""
    (?: ^ | (?<=[\s=:,;|&([{{<>"'`@!]) | (?<=://) | (?<=^-[A-Za-z]) )  # what may come before a path
    (?: {INCOMING} | {OUTGOING} )
    (?= $ | [\s/=:,;|&)\]}}<>"'`\#?] )                                 # and what may come after its last folder
    """,
    re.VERBOSE,
)


def rewrite_paths(text: str, incoming: Path, outgoing: Path) -> str:
    """Replace the two folders of the share by the real ones, where they are whole paths or begin one."""
    folders = {INCOMING: str(incoming), OUTGOING: str(outgoing)}
    return _SHARE.sub(lambda match: folders[match.group()], text)

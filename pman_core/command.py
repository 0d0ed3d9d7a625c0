"""The command line of a job, built once and the same for every backend. Pure.

The rules are those of the ChRIS plugin specification:
https://github.com/FNNDSC/CHRIS_docs/blob/master/SPEC.adoc#path-arguments
"""

import shlex
from collections.abc import Collection, Iterator, Sequence

from pman_core.request import JobRequest

INCOMING = "/share/incoming"
OUTGOING = "/share/outgoing"


def build_argv(request: JobRequest) -> tuple[str, ...]:
    """Return ``entrypoint + args + [incoming for ds] + [outgoing]``, path arguments made local."""
    paths = (INCOMING, OUTGOING) if request.type == "ds" else (OUTGOING,)
    return (*request.entrypoint, *_localize(request.args, request.args_path_flags), *paths)


def build_cmd(request: JobRequest) -> str:
    """Return the argv as one line of shell text, for people to read: nothing ever runs it."""
    return shlex.join(build_argv(request))


def _localize(args: Sequence[str], path_flags: Collection[str]) -> Iterator[str]:
    """Replace the value after each path flag by the incoming folder; a last flag gets it appended."""
    rest = iter(args)
    for arg in rest:
        yield arg
        if arg in path_flags:
            next(rest, None)
            yield INCOMING

"""How long an argument or a variable may be. Pure; for every backend that ends in one exec on Linux.

https://man7.org/linux/man-pages/man2/execve.2.html (Limits on size of arguments and environment)
"""

from collections.abc import Mapping, Sequence

from pman_core.errors import Rejected
from pman_core.states import Reason

EXEC_STRING_BYTES_MAX = 32 * 4096
"""MAX_ARG_STRLEN where a page has 4 KiB."""


def check_sizes(argv: Sequence[str], env: Mapping[str, str], bytes_max: int = EXEC_STRING_BYTES_MAX) -> None:
    """Refuse what no exec takes, by its name: the kernel would only say that all is too long.

    Raises:
        Rejected: one argument or variable is longer than ``bytes_max``.
    """
    named = [(f"argument {number}", text) for number, text in enumerate(argv)]
    named += [(f"variable {name}", f"{name}={value}") for name, value in env.items()]
    for name, text in named:
        if len(size := text.encode()) >= bytes_max:
            message = f"{name} has {len(size)} bytes, exec takes less than {bytes_max}"
            raise Rejected(message, Reason.START_FAILED)

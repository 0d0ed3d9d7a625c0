"""What ``health`` of a backend says of the questions that it asks its scheduler: it never raises, whatever they do."""

from collections.abc import Callable

from pman_core.backend import Health
from pman_core.errors import Unavailable


def health_by(find_trouble: Callable[[], str]) -> Health:
    """Ask, and return that all is well if the answer is ``""``; else the answer, or the error, is what is wrong."""
    try:
        trouble = find_trouble()
    except Unavailable as error:
        return Health(ok=False, message=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not well
        return Health(ok=False, message=f"{type(error).__name__}: {error}")
    return Health(ok=not trouble, message=trouble)

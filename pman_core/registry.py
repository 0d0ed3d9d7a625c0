"""Which backends there are. Names are found without importing a backend; only a worker loads one.

A backend of this project is a module of the package ``backends`` whose name does not begin with an underscore;
the module's name is the value of ``CONTAINER_ENV``. Third parties add theirs through the entry-point group
``pman.backends``: ``name = "package.module"``. Either module has exactly one public subclass of ``Backend``.
"""

import inspect
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

from pman_core.backend import Backend

ENTRY_POINT_GROUP = "pman.backends"


@cache
def modules() -> dict[str, str]:
    """Return the module of each backend by its name. Read once: every look reads the metadata of all packages."""
    package = find_spec("backends")
    search = package.submodule_search_locations if package else None
    own = {info.name: f"backends.{info.name}" for info in pkgutil.iter_modules(search) if not info.name.startswith("_")}
    return {entry.name: entry.value for entry in entry_points(group=ENTRY_POINT_GROUP)} | own


def names() -> tuple[str, ...]:
    """Return the known values of ``CONTAINER_ENV``, sorted."""
    return tuple(sorted(modules()))


def load_class(name: str) -> type[Backend]:
    """Import the backend ``name`` and return its class.

    Raises:
        KeyError: there is no such backend.
        ImportError: its SDK is not installed; the message names the extra to install.
    """
    module_name = modules()[name]
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ImportError(f"backend {name!r} needs the package {error.name!r}: pip install 'pman[{name}]'") from error
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Backend) and value.__module__ == module_name
    ]
    if len(classes) != 1:
        raise ImportError(f"module {module_name} must have exactly one subclass of Backend, it has {len(classes)}")
    return classes[0]


def pulls_images(name: str) -> bool:
    """Whether the backend ``name`` pulls images itself, so that a worker for that is needed."""
    try:
        return load_class(name).pull is not Backend.pull
    except ImportError:  # its worker will say so
        return False

"""What a process of the API does before it serves: settings or a clear end."""

import sys

from pman_core.errors import InvalidSettings
from pman_core.settings import Settings, load_settings

EXIT_HALT = 4
"""To gunicorn: the app can not be loaded. With any other code it would start the process again, for ever."""


def settings_or_exit() -> Settings:
    """Return the settings of the environment, or name every fault of them and end the process."""
    try:
        return load_settings()
    except InvalidSettings as error:
        lines = "".join(f"  {fault}\n" for fault in error.faults)
        sys.stderr.write(f"pman can not start, its settings are wrong:\n{lines}")
        sys.exit(EXIT_HALT)

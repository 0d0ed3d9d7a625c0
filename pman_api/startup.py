"""What a process of the API does before it serves: settings or a clear end, and logging."""

import logging
import sys

from pman_api.request_ids import RequestIdFilter
from pman_core.errors import InvalidSettings
from pman_core.settings import Settings, load_settings

EXIT_HALT = 4
"""To gunicorn: the app can not be loaded. With any other code it would start the process again, for ever."""
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


def settings_or_exit() -> Settings:
    """Return the settings of the environment, or name every fault of them and end the process."""
    try:
        return load_settings()
    except InvalidSettings as error:
        lines = "".join(f"  {fault}\n" for fault in error.faults)
        sys.stderr.write(f"pman can not start, its settings are wrong:\n{lines}")
        sys.exit(EXIT_HALT)


def configure_logging() -> None:
    """Log to stderr, each line with the id of its request."""
    handler = logging.StreamHandler()
    handler.addFilter(RequestIdFilter())
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=[handler])

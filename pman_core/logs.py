"""Logging for every process: one line per event, to stderr, with what is needed to follow one job."""

import logging

from pman_core.settings import Settings

CHATTY = ("celery.app.trace", "celery.worker.strategy")
"""Two lines for every task, in good times: Flower shows the same."""
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(settings: Settings, line_format: str = FORMAT, marks: logging.Filter | None = None) -> None:
    """Log to stderr: INFO in production, DEBUG of pman's own in development.

    ``marks`` gives each record what ``line_format`` shows beyond the usual.
    """
    handler = logging.StreamHandler()
    if marks is not None:
        handler.addFilter(marks)
    logging.basicConfig(level=logging.INFO, format=line_format, handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    if settings.application_mode == "development":
        for name in ("pman_core", "pman_api", "pman_worker", "backends"):
            logging.getLogger(name).setLevel(logging.DEBUG)

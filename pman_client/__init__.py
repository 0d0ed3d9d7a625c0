"""The Python client of pman, and the ``pman`` command. For users of the HTTP API: it needs neither Redis nor Celery."""

from pman_client.client import PmanClient
from pman_client.errors import BadRequest, ClientError, FieldError, JobConflict, NotFound, PmanUnavailable
from pman_client.model import Job, JobPage, JobSubmission

__all__ = [
    "BadRequest",
    "ClientError",
    "FieldError",
    "Job",
    "JobConflict",
    "JobPage",
    "JobSubmission",
    "NotFound",
    "PmanClient",
    "PmanUnavailable",
]

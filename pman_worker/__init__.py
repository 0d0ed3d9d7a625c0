"""The work: thin Celery tasks over plain functions, and the observer that keeps the records true."""

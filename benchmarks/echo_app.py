"""The yardstick: a Celery task that does nothing, with the same Celery settings as pman's own tasks."""

from pman_core.broker import make_celery
from pman_core.settings import load_settings

app = make_celery(load_settings(), consumes=True)


@app.task(name="echo")
def echo(jid: str, generation: str) -> str:
    return jid + generation

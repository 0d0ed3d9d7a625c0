"""The app of production: ``gunicorn -c pman_api/gunicorn.conf.py pman_api.wsgi:app``.

Importing this connects to nothing: Redis may start later. Each server process has connections of its own.
"""

from pman_api.app import create_app
from pman_api.request_ids import LOG_FORMAT, RequestIdFilter
from pman_api.startup import settings_or_exit
from pman_core.broker import QueuePublisher, make_celery
from pman_core.logs import configure_logging
from pman_core.store.redis import RedisStore

_settings = settings_or_exit()
configure_logging(_settings, LOG_FORMAT, RequestIdFilter())
_store = RedisStore.connect(_settings)
app = create_app(_settings, _store, QueuePublisher(make_celery(_settings), _settings.container_env, _store))

"""The connection to Redis: one server, TLS, or Sentinel; every wait has an end and every failure one name."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from pman_core.errors import StoreUnavailable
from pman_core.settings import Settings
from pman_core.store.lean_client import LeanRedis


@contextmanager
def confirmed() -> Iterator[None]:
    """Turn every error of the connection and every refusal of the server into ``StoreUnavailable``.

    A fault of our own (a wrong command, a script that fails) stays what it is: nobody should wait for it to pass.
    """
    try:
        yield
    except ResponseError as error:
        if _is_ours(error):
            raise
        raise StoreUnavailable(str(error)) from error
    except (RedisError, OSError) as error:
        raise StoreUnavailable(str(error) or type(error).__name__) from error


def _is_ours(error: ResponseError) -> bool:
    """Whether the server blames the command. Its own troubles have a code: OOM, READONLY, MISCONF, NOREPLICAS ...

    https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors (the client strips the code ERR)
    """
    # Redis before 7 wraps what a script met: "Error running script (call to f_...): @user_script:9: -OOM command ..."
    wrapped = re.search(r": -([A-Z]+) ", str(error))
    code = wrapped[1] if wrapped else str(error).partition(" ")[0]
    is_trouble = type(error) is not ResponseError or (code.isupper() and code.isalpha())
    return code in {"ERR", "WRONGTYPE"} or not is_trouble


def make_client(settings: Settings) -> tuple[redis.Redis, bool]:
    """Return a Redis client for ``settings`` and whether it goes through Sentinel (and so has replicas).

    A dead pooled connection is replaced once; what the server does not confirm in time is an error.
    """
    url = settings.redis_url.get_secret_value()
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1),
        "max_connections": 128,
    }
    if not url.startswith("sentinel://"):
        return LeanRedis.from_url(url, **options), False
    parts = [urlsplit(part if "://" in part else f"sentinel://{part}") for part in url.split(";") if part]
    nodes = [(part.hostname or "127.0.0.1", part.port or 26379) for part in parts]
    database = parts[-1].path.strip("/") or "0"
    # Asked one after the other, all of them within one time-out: the library's own retries go on for minutes.
    patience_s = settings.redis_timeout_s / len(nodes)
    asking = {"socket_timeout": patience_s, "socket_connect_timeout": patience_s, "retry": Retry(NoBackoff(), 0)}
    sentinel: Any = Sentinel(nodes, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    password = parts[0].password
    master = sentinel.master_for(
        settings.redis_sentinel_master, LeanRedis, db=int(database), password=password and unquote(password), **options
    )
    return master, True

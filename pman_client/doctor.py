"""``pman doctor``: looks at everything that pman needs and says how to repair what is wrong.

The judgements are pure functions over what was measured; only the functions named ``ask_...`` do I/O.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryFile

from redis.exceptions import RedisError

from pman_core import registry
from pman_core.broker import make_celery
from pman_core.errors import BackendError, InvalidSettings, StoreUnavailable
from pman_core.queues import Purpose, key_prefix, queue_name
from pman_core.settings import Settings, load, load_settings
from pman_core.store.connection import make_client
from pman_core.store.protocol import BackendReport, Obligation
from pman_core.store.redis import RedisStore

REDIS_OLDEST = (6, 2)
REPORT_STALE_S = 60.0
INSPECT_S = (1.0, 5.0)
"""So long workers have to answer, and so long if not all did: one that is busy is not one that is not there."""
OBLIGATIONS_SHOWN = 5


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and how to repair it."""

    subject: str
    verdict: Verdict
    text: str
    repair: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything that the environment names, in the order in which things depend on each other."""
    try:
        settings = load_settings()
    except InvalidSettings as error:
        for fault in error.faults:
            yield Finding("settings", Verdict.FAIL, str(fault), f"set {fault.field} in the environment; see README.md")
        return
    yield Finding("settings", Verdict.OK, f"CONTAINER_ENV={settings.container_env}, instance {settings.pman_instance}")
    yield ask_storage(settings)
    yield ask_backend(settings)
    redis = list(ask_redis(settings))
    yield from redis
    if redis[0].verdict is not Verdict.FAIL:
        yield from ask_queues(settings)
        yield from ask_store(settings)


def ask_storage(settings: Settings) -> Finding:
    base = settings.storebase
    # Who mounts the store for each job by himself need not show it to pman.
    is_elsewhere = settings.storage_type == "nfs" or settings.container_env == "kubernetes"
    if base is None or (is_elsewhere and not base.is_dir()):
        return Finding("storage", Verdict.OK, f"{settings.storage_type}: reached by the backend, not from here")
    return judge_storebase(base)


def judge_storebase(base: Path) -> Finding:
    if not base.is_dir():
        return Finding("storage", Verdict.FAIL, f"STOREBASE {base} is no folder", f"mkdir -p {base}, or mount it here")
    try:
        with TemporaryFile(dir=base):
            return Finding("storage", Verdict.OK, f"{base} is writable")
    except OSError as error:
        return Finding(
            "storage",
            Verdict.FAIL,
            f"{base}: {error.strerror}",
            "give this user the right to write there: chown, chmod",
        )


def ask_backend(settings: Settings) -> Finding:
    name = settings.container_env
    try:
        backend_class = registry.load_class(name)
        backend = backend_class(settings, load(backend_class.Settings))
        try:
            backend.open()
            health = backend.health()
        finally:
            backend.close()
    except ImportError as error:
        return Finding("backend", Verdict.FAIL, str(error), f"pip install 'pman[{name}]'")
    except InvalidSettings as error:
        return Finding("backend", Verdict.FAIL, str(error), "correct these settings; see README.md")
    except BackendError as error:
        return Finding("backend", Verdict.FAIL, str(error), f"check that {name} runs and that this user may use it")
    if not health.ok:
        return Finding("backend", Verdict.FAIL, health.message, f"check that {name} runs and that this user may use it")
    return Finding("backend", Verdict.OK, f"{name} answers" + (f": {health.message}" if health.message else ""))


def ask_redis(settings: Settings) -> Iterator[Finding]:
    try:
        client, _ = make_client(settings)
        info = {str(key): str(value) for key, value in client.info().items()}
    except (RedisError, OSError) as error:
        yield Finding("redis", Verdict.FAIL, f"no answer: {error}", "start Redis, check REDIS_URL (or run `pman up`)")
        return
    yield from judge_redis(info)


def judge_redis(info: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the answer to INFO."""
    if info.get("redis_mode") == "cluster" or info.get("cluster_enabled") == "1":
        yield Finding("redis", Verdict.FAIL, "this is a cluster", "use a single Redis or Valkey, or Sentinel")
        return
    yield _judge_version(info)
    policy = info.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        yield Finding("redis memory", Verdict.OK, "maxmemory-policy noeviction")
    else:
        yield Finding(
            "redis memory",
            Verdict.FAIL,
            f"maxmemory-policy is {policy}: Redis may drop jobs",
            "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        )
    if info.get("aof_enabled") == "1":
        yield Finding("redis durability", Verdict.OK, "append-only file on")
    else:
        yield Finding(
            "redis durability",
            Verdict.WARN,
            "append-only file off: a restart of Redis forgets waiting jobs",
            "CONFIG SET appendonly yes, and the same in redis.conf",
        )


def _judge_version(info: Mapping[str, str]) -> Finding:
    if "valkey_version" in info:
        return Finding("redis", Verdict.OK, f"Valkey {info['valkey_version']}")
    text = info.get("redis_version", "0")
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if version < REDIS_OLDEST:
        return Finding("redis", Verdict.FAIL, f"Redis {text} is too old", "upgrade to Redis >= 6.2 or to Valkey")
    return Finding("redis", Verdict.OK, f"Redis {text}")


def ask_queues(settings: Settings) -> Iterator[Finding]:
    app = make_celery(settings)
    try:
        client, _ = make_client(settings)
        names = [queue_name(settings.container_env, purpose) for purpose in Purpose]
        for timeout_s in INSPECT_S:
            answers = app.control.inspect(timeout=timeout_s).active_queues() or {}
            lengths = {name: int(str(client.llen(key_prefix(settings.pman_instance) + name))) for name in names}
            served = {str(queue["name"]) for queues in answers.values() for queue in queues}
            findings = list(judge_queues(lengths, served))
            if all(finding.verdict is Verdict.OK for finding in findings):
                break
    except (RedisError, OSError) as error:
        yield Finding("queues", Verdict.FAIL, f"cannot be read: {error}", "check Redis")
        return
    finally:
        app.close()
    yield from findings


def judge_queues(lengths: Mapping[str, int], consumed: Iterable[str]) -> Iterator[Finding]:
    """Judge the queues, given by how many tasks wait in each, by those that a worker consumes."""
    served = set(consumed)
    for name, length in lengths.items():
        waiting = f"{length} task(s) waiting"
        if name in served:
            yield Finding(f"queue {name}", Verdict.OK, waiting)
        elif name.endswith(f".{Purpose.PULL}") and not length:
            yield Finding(f"queue {name}", Verdict.OK, "no worker consumes it, no image is asked for")
        else:
            yield Finding(
                f"queue {name}",
                Verdict.FAIL,
                f"no worker consumes it, {waiting}",
                "start a worker with the same CONTAINER_ENV and PMAN_INSTANCE: see Procfile",
            )


def ask_store(settings: Settings) -> Iterator[Finding]:
    store = RedisStore.connect(settings)
    name = settings.container_env
    try:
        now_ms = store.now_ms()
        yield judge_report(store.report(name), now_ms)
        yield judge_sweep(store.epoch(name))
        yield judge_obligations(store.obligations(name, OBLIGATIONS_SHOWN + 1))
    except StoreUnavailable as error:
        yield Finding("store", Verdict.FAIL, str(error), "check Redis")


def judge_report(report: BackendReport | None, now_ms: int) -> Finding:
    """Judge by the age of its last report whether an observer lives, and what it reports."""
    repair = "start an observer: python -m pman_worker.observer"
    if report is None:
        return Finding("observer", Verdict.FAIL, "no worker or observer has ever reported", repair)
    age_s = (now_ms - report.reported_at_ms) / 1000
    if age_s > REPORT_STALE_S:
        return Finding("observer", Verdict.FAIL, f"silent for {age_s:.0f} s: states go stale", repair)
    if not report.ok:
        return Finding("observer", Verdict.WARN, f"it reports: {report.message}", "see `backend` above, on its host")
    return Finding("observer", Verdict.OK, f"reported {age_s:.0f} s ago")


def judge_sweep(is_done: bool) -> Finding:
    if is_done:
        return Finding("first sweep", Verdict.OK, "done: jobs are submitted")
    return Finding(
        "first sweep",
        Verdict.WARN,
        "the store is new, and no complete list of the backend's jobs was made yet: nothing is submitted",
        "wait for the observer; if it stays so, its log names the reason",
    )


def judge_obligations(due: Sequence[Obligation]) -> Finding:
    """Judge the deletes that should be done by now."""
    if not due:
        return Finding("deletes", Verdict.OK, "none is overdue")
    names = ", ".join(obligation.jid for obligation in due[:OBLIGATIONS_SHOWN])
    more = ", ..." if len(due) > OBLIGATIONS_SHOWN else ""
    return Finding(
        "deletes",
        Verdict.WARN,
        f"not verified gone yet: {names}{more}",
        "the observer tries again by itself; if it stays so, the workers' log names the reason",
    )

"""What the work needs, in one place: store, backend, publisher and the numbers to decide by."""

from collections.abc import Callable
from dataclasses import dataclass

from pman_core import registry
from pman_core.backend import Backend
from pman_core.broker import Publisher, QueuePublisher, make_celery
from pman_core.clock import boot_clock_s
from pman_core.errors import Fault, InvalidSettings
from pman_core.settings import Settings, load
from pman_core.store.protocol import BackendReport, Store
from pman_core.store.redis import RedisStore


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a task or the observer works with."""

    settings: Settings
    store: Store
    backend: Backend
    publisher: Publisher
    clock_s: Callable[[], float] = boot_clock_s

    @property
    def backend_name(self) -> str:
        """The value of CONTAINER_ENV: queues and indexes carry it, whatever engine the backend has found."""
        return self.settings.container_env

    @property
    def host(self) -> str:
        """This host, where it matters which host a job is on; else empty."""
        return self.settings.pman_hostname if self.backend.capabilities.scope == "host" else ""

    def publish_report(self) -> None:
        """Tell the store (and so the API) what the backend can do and how it is."""
        health = self.backend.health()
        capabilities = self.backend.capabilities.to_dict()
        self.store.publish(BackendReport(self.backend_name, capabilities, health.ok, health.message))


def make_backend(settings: Settings) -> Backend:
    """Return the backend that CONTAINER_ENV names, not opened yet.

    Raises:
        InvalidSettings: its own settings are wrong, with every fault at once.
        ImportError: its SDK is not installed.
    """
    backend_class = registry.load_class(settings.container_env)
    if settings.submit_lease_s <= backend_class.submit_timeout_s:
        least = f"must be longer than {backend_class.submit_timeout_s:g}, the time-out of a submit on this backend"
        raise InvalidSettings([Fault("SUBMIT_LEASE_S", least)])
    return backend_class(settings, load(backend_class.Settings))


def make_context(settings: Settings) -> Context:
    """Return the context of a production process; nothing is connected yet."""
    store = RedisStore.connect(settings)
    publisher = QueuePublisher(make_celery(settings), settings.container_env, store)
    return Context(settings, store, make_backend(settings), publisher)

"""What every backend on an engine has: a connection that is open or not, and the folders of its jobs."""

from abc import abstractmethod

from pydantic import BaseModel

from backends._engine.client import Client
from backends._engine.mounts import Mount, Storage
from backends._health import health_by
from backends._users import choose_user
from pman_core.backend import Backend, Health
from pman_core.errors import Unavailable
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings


class EngineBackend(Backend):
    """``open`` of a subclass sets ``_storage``, and ``_client`` last."""

    submit_timeout_s = 40.0

    def __init__(self, common: CommonSettings, own: BaseModel) -> None:
        super().__init__(common, own)
        self._client: Client | None = None
        self._storage: Storage | None = None

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def _engine(self) -> Client:
        if self._client is None:
            raise Unavailable("the backend is not open")
        return self._client

    def _mounts(self, spec: JobSpec) -> list[Mount]:
        if self._storage is None:
            raise Unavailable("the backend is not open")
        return self._storage.mounts(spec, choose_user(self.common.container_user, spec.generation))

    def health(self) -> Health:
        return health_by(self._trouble)

    @abstractmethod
    def _trouble(self) -> str:
        """Ask the engine; return what is wrong with it, or ``""``. Raises what every question raises."""

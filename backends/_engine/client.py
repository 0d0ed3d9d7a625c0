"""The connection to an engine: docker-py with a time-out on every read and with the errors of the house."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, TLSParameterError
from docker.tls import TLSConfig

from backends._engine.errors import Doing, explain
from backends._engine.settings import TLS_FILES
from pman_core.errors import BackendError, Rejected, Unavailable

CONNECTIONS_MAX = 32


class Client(docker.APIClient):
    """docker-py lets streams (events, pulls) wait for ever; here ``silence_s`` without a byte ends them.

    An engine that hangs is noticed by it, and so is a TCP connection whose other end has gone.
    """

    def __init__(self, url: str, tls: Path | None, timeout_s: float, silence_s: float) -> None:
        self._silence_s = silence_s
        super().__init__(
            base_url=url,
            version="auto",
            timeout=timeout_s,  # type: ignore[arg-type]
            tls=_tls_config(tls) if tls else False,
            max_pool_size=CONNECTIONS_MAX,
        )

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        # Else REQUESTS_CA_BUNDLE in the environment would silently replace the engine's own authority.
        self.trust_env = False
        if options.get("timeout") is None:
            options["timeout"] = (self.timeout, self._silence_s)
        return super().request(method, url, **options)

    def get_stream(self, path: str, **params: Any) -> requests.Response:
        """GET what docker-py has no plain call for, as a stream.

        Raises:
            APIError: the engine refuses.
        """
        response = self.get(f"{self.base_url}/v{self.api_version}{path}", params=params, stream=True, timeout=None)
        if response.status_code >= 400:
            response.close()  # the text of the error is not needed by those who ask this way
            raise APIError(f"HTTP {response.status_code}", response=response, explanation=response.reason)
        return response


class SilentUnavailable(Unavailable):
    """Connected, and then no byte within the time-out."""


def connect(url: str, tls: Path | None, timeout_s: float, silence_s: float = 60.0) -> Client:
    """Connect and agree on a version of the API.

    Raises:
        Rejected: certificates that are not there.
        Unavailable: nobody answers.
    """
    with translated(Doing.ASK, url):
        if tls and (missing := [name for name in TLS_FILES if not (tls / name).is_file()]):
            raise Rejected(f"DOCKER_CERT_PATH: {tls} has no {', '.join(missing)}")
        try:
            return Client(url, tls, timeout_s, silence_s)
        except TLSParameterError as error:
            raise Rejected(f"DOCKER_CERT_PATH: {error}") from error
        except DockerException as error:
            # The first call is part of the constructor, which wraps its error.
            if isinstance(error, APIError):
                raise
            raise Unavailable(f"no engine at {url}: {error}") from error


def _tls_config(folder: Path) -> TLSConfig:
    ca, certificate, key = (str(folder / name) for name in TLS_FILES)
    return TLSConfig(client_cert=(certificate, key), ca_cert=ca, verify=True)


@contextmanager
def translated(doing: Doing, subject: str = "") -> Iterator[None]:
    """Turn what docker-py and its layers raise into the errors of the house; ``subject`` says what was asked about."""
    try:
        yield
    except BackendError:
        raise
    except APIError as error:
        status = error.response.status_code if error.response is not None else 500
        raise explain(doing, status, str(error.explanation or error), subject) from error
    except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
        raise SilentUnavailable(f"the engine does not answer: {type(error).__name__}: {error}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, DockerException, OSError) as error:
        raise Unavailable(f"the engine does not answer: {type(error).__name__}: {error}") from error

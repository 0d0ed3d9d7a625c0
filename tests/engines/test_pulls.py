"""Pulls on real engines from real registries: how far it is, and why it fails."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from backends._engine.backend import ContainerBackend
from backends._engine.settings import ContainerSettings
from backends.podman import PodmanSettings
from pman_core.backend import JobRef, Observed
from pman_core.errors import ImageMissing, RegistryAway, Rejected, Unavailable
from pman_core.job import JobSpec, mint_generation
from pman_core.request import parse_request
from pman_core.settings import Settings
from pman_core.states import TERMINAL, Reason, State
from testbed.engine_proxy import EngineProxy
from testbed.system import System, wait_for
from tests.engines import registry
from tests.engines.jobs import PATIENCE_S, body, connect, get, post, traced, traces, wait_end
from tests.engines.patient import PatientDocker, PatientPodman

pytestmark = pytest.mark.timeout(600)
Make = Callable[..., ContainerBackend]


class Engine:
    """One engine, and what a person would do with its images."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.name, self.url, self.folder = name, url, folder
        self.client = connect(url)

    def backend(self, **own: Any) -> ContainerBackend:
        settings = Settings(
            container_env=self.name, storebase=self.folder, docker_host=self.url, pman_instance="pull-tests"
        )
        if self.name == "docker":
            return PatientDocker(settings, ContainerSettings(**own))
        return PatientPodman(settings, PodmanSettings(**own))

    def label(self, image: str) -> str | None:
        """Return the label of the image, ``None`` if it is not there.

        A Podman fails (500) to show any image while somebody removes one with the same layers.
        """
        shown: list[str | None] = []

        def is_shown() -> bool:
            try:
                shown.append(str((self.client.inspect_image(image)["Config"]["Labels"] or {}).get("label")))
            except NotFound:
                shown.append(None)
            except APIError as error:
                if not error.is_server_error():
                    raise
            return bool(shown)

        wait_for(f"{self.name} shows {image}", is_shown, PATIENCE_S)
        return shown[0]

    def remove(self, image: str) -> None:
        try:
            self.client.remove_image(image, force=True)
        except NotFound:
            return

    def spec(self, image: str) -> JobSpec:
        request = parse_request(body("job", "true", image=image))
        for name in (request.input_dir, request.output_dir):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        return JobSpec(mint_generation(), "pull-tests", request)


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("docker", "podman")])
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    if lack := registry.lack():
        required = request.param in request.config.getoption("--require")
        (pytest.fail if required else pytest.skip)(lack)
    found = Engine(request.param, request.getfixturevalue(f"{request.param}_url"), folder)
    yield found
    found.client.close()


@pytest.fixture
def make(engine: Engine) -> Iterator[Make]:
    """Return a function that makes an open backend."""
    backends: list[ContainerBackend] = []

    def opened(**own: Any) -> ContainerBackend:
        backends.append(engine.backend(**own))
        backends[-1].open()
        return backends[-1]

    yield opened
    for backend in backends:
        backend.close()


@pytest.fixture
def image(engine: Engine) -> Iterator[str]:
    """An image of this test alone, which the engine has not got."""
    name = registry.new_image("one")
    yield name
    engine.remove(name)


def run(backend: ContainerBackend, spec: JobSpec) -> Observed:
    """Submit, and return the end."""
    backend.submit(spec)

    def ended() -> Observed | None:
        seen = backend.observe([JobRef(spec.jid, spec.generation)])[spec.jid, spec.generation]
        return seen if isinstance(seen, Observed) and seen.state in TERMINAL else None

    try:
        return wait_for("the job ends", ended, PATIENCE_S)
    finally:
        backend.remove(spec.jid, spec.generation)


def refusal(backend: ContainerBackend, image: str) -> str:
    """Pull what cannot be pulled; return why."""
    with pytest.raises(Rejected) as raised:
        backend.pull(image, lambda _: None)
    assert raised.value.reason is Reason.IMAGE_PULL
    assert image in str(raised.value)
    return str(raised.value)


def test_a_missing_image_is_pulled_and_then_runs(engine: Engine, make: Make, image: str) -> None:
    backend, spec = make(), engine.spec(image)
    for _ in range(2):
        with pytest.raises(ImageMissing, match=image):
            backend.submit(spec)
    told: list[str] = []
    backend.pull(image, told.append)
    assert engine.label(image) == "one"
    assert told
    assert all(image in text for text in told)
    assert run(backend, spec).state is State.SUCCEEDED


def test_how_far_it_is_is_told(engine: Engine, make: Make) -> None:
    engine.remove(registry.BIG)
    told: list[str] = []
    make().pull(registry.BIG, told.append)
    assert len(told) > 3
    if engine.name == "docker":  # the other tells no sizes
        assert any("of 32.0 MiB" in text or "of 33" in text for text in told), told
        assert "layers unpacked" in told[-1]
    engine.remove(registry.BIG)


def test_who_is_told_may_give_the_pull_up(engine: Engine, make: Make, image: str) -> None:
    class Enough(Exception):
        pass

    def tell(_: str) -> None:
        raise Enough

    backend = make()
    with pytest.raises(Enough):
        backend.pull(image, tell)
    backend.pull(image, lambda _: None)
    assert engine.label(image) == "one"


def test_an_image_or_a_tag_that_is_not_there_says_so(make: Make) -> None:
    backend = make()
    for name in (f"{registry.OPEN}/pman/nothing:1", f"{registry.OPEN}/pman/test:nothing"):
        assert any(words in refusal(backend, name) for words in ("not found", "manifest unknown", "name unknown"))


def test_an_image_of_somebody_else_says_so(make: Make) -> None:
    text = refusal(make(), registry.SECRET)
    assert any(words in text for words in ("no basic auth", "unauthorized", "authentication required")), text


def test_a_registry_that_is_away_is_told_at_once(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        name = f"127.0.0.1:{taken.getsockname()[1]}/pman/test:1"
        with pytest.raises(RegistryAway, match="connection refused"):
            make().pull(name, lambda _: None)


def test_a_pull_has_a_time_limit(engine: Engine, make: Make, image: str) -> None:
    with pytest.raises(Rejected, match=r"took more than 0\.0001 s") as raised:
        make(image_pull_timeout_s=0.0001).pull(image, lambda _: None)
    assert raised.value.reason is Reason.IMAGE_PULL


def test_an_engine_that_goes_away_is_no_refusal(
    engine: Engine, make: Make, image: str, proxied: Callable[[str], EngineProxy]
) -> None:
    proxy = proxied(engine.url)
    engine.url = proxy.url
    backend = make()
    proxy.close()
    with pytest.raises(Unavailable):
        ContainerBackend.pull(backend, image, lambda _: None)  # once


def test_never_means_never(engine: Engine, make: Make, image: str) -> None:
    backend = make(image_pull_policy="never")
    assert not backend.pulls_first
    with pytest.raises(Rejected, match="IMAGE_PULL_POLICY=never") as raised:
        backend.submit(engine.spec(image))
    assert raised.value.reason is Reason.IMAGE_PULL


def test_always_finds_that_the_tag_has_moved(engine: Engine, make: Make, image: str) -> None:
    backend = make(image_pull_policy="always")
    assert backend.pulls_first
    backend.pull(image, lambda _: None)
    assert engine.label(image) == "one"
    registry.move(image, "two")
    backend.pull(image, lambda _: None)
    assert engine.label(image) == "two"
    assert run(backend, engine.spec(image)).state is State.SUCCEEDED


# The whole system


def test_the_whole_way_of_a_job_without_its_image(engine: Engine, image: str, start: Callable[..., System]) -> None:
    system = start(engine.url, engine.name)
    for jid in ("a", "b", "c"):
        post(system, traced(jid, image=image))
    for jid in ("a", "b", "c"):
        wait_for(f"{jid} waits", lambda jid=jid: "waiting for the image" in get(system, jid)["message"], PATIENCE_S)  # type: ignore[misc]
    # Who hears that the image is missing and says so only when it is there is pulled for once more.
    system.start_pull_worker()
    for jid in ("a", "b", "c"):
        assert wait_end(system, jid)["status"] == "finishedSuccessfully", get(system, jid)
        assert traces(system, jid) == 1
    assert system.output("pull").count(f"pulling: image={image}") == 1
    post(system, traced("secret", image=registry.SECRET))
    record = wait_end(system, "secret")
    assert (record["status"], record["reason"]) == ("finishedWithError", "IMAGE_PULL")
    assert registry.SECRET in record["message"]


def test_always_pulls_before_each_job(engine: Engine, image: str, start: Callable[..., System]) -> None:
    system = start(engine.url, engine.name, IMAGE_PULL_POLICY="always")
    system.start_pull_worker()
    for jid, label in (("a", "one"), ("b", "two")):
        registry.move(image, label)
        post(system, traced(jid, image=image))
        assert wait_end(system, jid)["status"] == "finishedSuccessfully", get(system, jid)
        assert engine.label(image) == label
    assert system.output("pull").count(f"pulling: image={image}") == 2

"""Jobs through pman against the same containers made with docker-py alone, in one run; and how soon an end is seen.

``python -m benchmarks.docker [--jobs 60] [--rounds 3] [--engine docker|podman|swarm]``. Needs an engine with the image
busybox:test, see ``testbed/README.md``. Rounds of both take turns, so that a noisy minute hits both.
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import docker
import requests

from testbed import engines
from testbed.system import System, wait_for
from tests.engines.jobs import FINISHED, IMAGE, body

CLIENTS = 16
POLL_S = 0.25
"""Short: clients of ChRIS ask every 5 s. Polling must not be what is measured."""


def raw(url: str, jobs: int) -> float:
    """Return jobs per second of docker-py alone: create, start, wait, remove."""
    client = docker.APIClient(url, version="auto", timeout=60, max_pool_size=CLIENTS)

    def one(_: int) -> None:
        made = client.create_container_from_config(  # type: ignore[no-untyped-call]
            {"Image": IMAGE, "Entrypoint": ["true"], "Cmd": [], "HostConfig": {"Memory": 200 << 20, "NanoCpus": 10**9}}
        )
        client.start(made["Id"])
        client.wait(made["Id"])
        client.remove_container(made["Id"])

    begun_s = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, range(jobs)))
    took_s = time.monotonic() - begun_s
    client.close()
    return jobs / took_s


class Pman:
    """One system on the engine, and what its clients see."""

    def __init__(self, folder: Path, backend: str, url: str) -> None:
        where = "CONTAINER_HOST" if backend == "podman" else "DOCKER_HOST"
        self.backend = backend
        self.system = System(folder / "system", backend, env={where: url, "PMAN_INSTANCE": "bench", "LIVE_LOGS_S": "0"})
        self.system.start_redis()
        self.system.start_api(1)
        self.system.start_worker(concurrency=CLIENTS)
        self.system.start_observer()
        self.system.wait_ready()
        self._numbers = iter(range(10**9))
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CLIENTS))

    def jobs_per_s(self, jobs: int) -> float:
        """Return jobs per second from the first POST to the last container that is gone."""
        jids = [f"job-{next(self._numbers)}" for _ in range(jobs)]
        begun_s = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(self._post, jids))
            list(pool.map(self._follow, jids))
        wait_for("all is removed", self._is_clean, 120)
        return jobs / (time.monotonic() - begun_s)

    def _post(self, jid: str, script: str = "true") -> None:
        request = body(jid, script)
        for name in ("input_dir", "output_dir"):
            (self.system.store_base / request[name]).mkdir(parents=True)
        self._session.post(f"{self.system.url}/api/v1/", json=request, timeout=10).raise_for_status()

    def _follow(self, jid: str, poll_s: float = POLL_S) -> float:
        """Poll until the job has ended, then delete it; return how long after its end that was seen, in s."""
        url = f"{self.system.url}/api/v1/{jid}/"
        while (record := self._session.get(url, timeout=10).json())["status"] not in FINISHED:
            time.sleep(poll_s)
        seen_s = time.time()
        assert record["status"] == "finishedSuccessfully", record
        self._session.delete(url, timeout=10).raise_for_status()
        return seen_s - datetime.fromisoformat(record["finished_at"]).timestamp()

    def _is_clean(self) -> bool:
        store = self.system.connect_store()
        return store.counts(self.backend)["obligations"] == 0

    def latencies_s(self, jobs: int) -> list[float]:
        """Return, job by job, how long its end took to be seen."""
        found = []
        for jid in [f"late-{next(self._numbers)}" for _ in range(jobs)]:
            self._post(jid, "sleep 0.3")
            found.append(self._follow(jid, 0.01))
        wait_for("all is removed", self._is_clean, 120)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", choices=["docker", "podman", "swarm"], default="docker")
    options = parser.parse_args()
    url = engines.podman_url() if options.engine == "podman" else engines.docker_url()
    if url is None:
        raise SystemExit(f"no {options.engine} answers, see testbed/README.md")
    with tempfile.TemporaryDirectory(prefix="pman-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        pman = Pman(Path(name), options.engine, url)
        try:
            measure(pman, url, options)
        finally:
            pman.system.close()


def measure(pman: Pman, url: str, options: argparse.Namespace) -> None:
    if options.engine != "swarm":
        raw(url, CLIENTS)
        pman.jobs_per_s(CLIENTS)
        ratios = []
        print(f"{options.jobs} jobs, {CLIENTS} clients, {options.engine}; jobs/s")
        print("| round | docker-py alone | pman | ratio |\n|---|---|---|---|")
        for number in range(1, options.rounds + 1):
            alone, ours = raw(url, options.jobs), pman.jobs_per_s(options.jobs)
            ratios.append(ours / alone)
            print(f"| {number} | {alone:.1f} | {ours:.1f} | {ratios[-1]:.2f} |", flush=True)
        print(f"median ratio {statistics.median(ratios):.2f}")
    late_ms = sorted(1000 * late_s for late_s in pman.latencies_s(40))
    p50, p95 = late_ms[len(late_ms) // 2], late_ms[int(len(late_ms) * 0.95) - 1]
    print(f"end of a job on {options.engine} -> GET: p50 {p50:.0f} ms, p95 {p95:.0f} ms")


if __name__ == "__main__":
    main()

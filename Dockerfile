# The three images of pman, one target each:
#   docker build --target api    -t pman-api:7 .
#   docker build --target worker -t pman-worker:7 .     --build-arg EXTRAS=docker,kubernetes for other schedulers
#   docker build --target flower -t pman-flower:7 .
# Dependencies are a layer of their own, so that a new release of pman moves less than 1 MB.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# Where pip looks, for a site with an index of its own; pip takes an empty variable for none.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_RETRIES=8 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY deploy/docker/requirements.py /
COPY pyproject.toml /
RUN python -m venv --without-pip /venv && \
    python /requirements.py > /all.txt && python -m pip --python /venv install -q -r /all.txt && \
    python /requirements.py --build > /build.txt && python -m pip install -q -r /build.txt

FROM build AS build-flower
RUN python /requirements.py flower > /all.txt && python -m pip --python /venv install -q -r /all.txt

FROM build AS build-worker
ARG EXTRAS=docker
RUN python /requirements.py "${EXTRAS}" > /all.txt && python -m pip --python /venv install -q -r /all.txt

# pman itself, without its dependencies; what builds it is there already, so this needs no network.
FROM build AS code
WORKDIR /src
COPY . .
RUN python -m pip wheel -q --no-deps --no-build-isolation -w /wheels . && \
    python -m pip --python /venv install -q --no-deps --no-index --prefix /code /wheels/*.whl

FROM ${BASE} AS runtime
RUN useradd --uid 10001 --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin pman
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/
# Not the numbers' names: Kubernetes' runAsNonRoot can only check a number.
USER 10001:10001
WORKDIR /

FROM runtime AS flower
COPY --from=build-flower /venv /venv
COPY --from=code /code /venv
EXPOSE 5555
# http.client, because urllib would ask a proxy of the environment.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python", "-c", "from http.client import HTTPConnection as H; h = H('127.0.0.1', 5555, timeout=4); h.request('GET', '/healthcheck'); raise SystemExit(h.getresponse().status != 200)"]
# Flower's own default, and what it should be outside of a container, is 127.0.0.1: in here nobody could reach that.
CMD ["celery", "-q", "-A", "pman_worker.monitor", "flower", "--address=0.0.0.0"]

FROM runtime AS worker
COPY --from=build-worker /venv /venv
COPY --from=code /code /venv
COPY deploy/docker/entrypoint /entrypoint
# Started as root (see docker-compose.yml) it gives that up at once; started as anybody else it changes nothing.
ENTRYPOINT ["/entrypoint"]
# A worker or observer connects to Redis when its scheduler has answered, and stays connected (01: established). A whole
# five minutes without is what it takes to be called ill: a Redis that is away must not end workers that have jobs.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=30 CMD ["grep", "-qsE", "^ *[0-9]+: [0-9A-F:]+ [0-9A-F:]+ 01 ", "/proc/net/tcp", "/proc/net/tcp6"]
CMD ["celery", "-q", "-A", "pman_worker.app", "worker", "-n", "worker@%h", "--pool", "threads", "--concurrency", "8", "-E", "--without-gossip", "--without-mingle"]

# The last one, so that it is what a build without a target makes. It has no scheduler's SDK.
FROM runtime AS api
COPY --from=build /venv /venv
COPY --from=code /code /venv
COPY pman_api/gunicorn.conf.py /
EXPOSE 5010
# Alive, not ready: without Redis it answers 503 by itself, and to restart it would not help.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["python", "-c", "from http.client import HTTPConnection as H; h = H('127.0.0.1', 5010, timeout=4); h.request('GET', '/health/'); raise SystemExit(h.getresponse().status != 200)"]
CMD ["gunicorn", "-c", "/gunicorn.conf.py", "pman_api.wsgi:app"]

# A Redis where there is no image registry: Debian's, on a base made by base_image.sh.
FROM python:3.11-slim-bookworm
RUN echo 'Acquire::Retries "5";' > /etc/apt/apt.conf.d/retries && \
    apt-get update -q && apt-get install -qy --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
VOLUME /data
WORKDIR /data
CMD ["redis-server"]

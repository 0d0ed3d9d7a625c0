"""What Docker, Podman and Docker Swarm share: one HTTP API, spoken through docker-py. Private to their backends.

Engine API 1.41 and later: https://docs.docker.com/reference/api/engine/version/v1.41/
Podman's service of the same API: https://docs.podman.io/en/latest/_static/api.html
"""

# What there is to do here; `make` alone lists it. Everything happens in .venv, nothing outside is touched.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# An index that refuses now and then is asked again for a minute: pip's own five times are over in seconds.
export PIP_RETRIES ?= 8

# The tests start hundreds of Pythons: without bytecode each of them compiles pman and its libraries anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up test coverage e2e faults model engines kubernetes slurm chaos lint fuzz soak bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## watch one real job go through pman on this machine; needs no Redis and no Docker
	@$(BIN)/python demo/run.py

up: $(VENV)/.demo ## run all of pman in this terminal, with a Redis of its own
	@$(BIN)/pman up --any-image

test: $(VENV)/.dev ## the tests, in parallel
	$(BIN)/pytest

coverage: $(VENV)/.dev ## the tests again, with the lines and branches they miss; CI adds the engines' and wants 90 %
	$(BIN)/pytest --cov

e2e: $(VENV)/.dev ## the slow tests with real processes, three at a time
	$(BIN)/pytest -m 'e2e and not docker and not podman and not swarm and not kubernetes and not slurm' -n 3 --dist worksteal --ignore tests/faults

faults: $(VENV)/.dev ## faults done to the real processes, three at a time; root may mount, and tests full stores too
	$(BIN)/pytest -m 'e2e and not docker and not podman and not swarm and not kubernetes and not slurm' -n 3 --dist worksteal tests/faults

model: $(VENV)/.dev ## exhaustively: the protocol as a model, the stores side by side, and what the other tests rest on
	$(BIN)/pytest -m exhaustive -n 0 -p no:randomly -s tests/model
	$(BIN)/pytest -m exhaustive tests/contract tests/unit

engines: $(VENV)/.dev ## the tests on real engines, which must be there (see testbed/README.md)
	$(BIN)/pytest -m '(docker or podman or swarm) and not e2e' --require docker,podman,swarm -n 4 --dist worksteal
	$(BIN)/pytest -m 'docker and e2e' --require docker -n 0 tests/faults

kubernetes: $(VENV)/.dev ## the tests on a real Kubernetes cluster, which must be there (see testbed/README.md)
	$(BIN)/pytest -m 'kubernetes and not e2e' --require kubernetes -n 4 --dist worksteal tests/contract tests/engines
	$(BIN)/pytest -m 'kubernetes and e2e' --require kubernetes -n 0 tests/engines/test_kubernetes_load.py tests/engines/kube_faults tests/engines/test_kubernetes_nodes.py tests/engines/test_kubernetes_docs.py

slurm: $(VENV)/.dev ## the tests on a real Slurm, which must be there (see testbed/README.md)
	$(BIN)/pytest -m 'slurm and not exclusive' --require slurm --timeout 300 -n 6 --dist loadgroup tests/contract tests/engines
	$(BIN)/pytest -m 'slurm and exclusive' --require slurm -n 0 tests/engines

chaos: $(VENV)/.dev ## 1,000 jobs under 60 faults, then an audit; BACKEND=process, docker, kubernetes, cromwell or mock, SEED= to repeat a night
	$(BIN)/python -m tests.faults.chaos --backend $(or $(BACKEND),process) $(addprefix --seed ,$(SEED)) $(CHAOS)

lint: $(VENV)/.dev ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(VENV)/.dev ## 100,000 hostile requests against a whole system; SEED=n repeats one (some minutes)
	$(BIN)/python -m tests.faults.fuzz $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.dev ## 20,000 jobs through a whole system: what grows, and what is left (some minutes)
	$(BIN)/python -m tests.faults.leaks

bench: $(VENV)/.dev ## every figure of speed and scale in one table; needs wrk (some minutes, on a quiet machine)
	$(BIN)/python -m benchmarks

clean: ## remove .venv, caches, and what `pman up` has kept here
	rm -rf $(VENV) .pman build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "pman needs Python >= 3.11: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv --clear $(VENV) \
	  || { rm -rf $(VENV); echo "no venv: apt install python3-venv, or pip install virtualenv" >&2; exit 1; }

# A stamp says which extras are installed; the order-only prerequisite keeps a new python from reinstalling all.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "installing pman into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing pman and its tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

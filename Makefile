# Every target stands alone: it makes the virtual environment, installs what requirements-dev.txt pins, and runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Some machines forbid it; the tests start hundreds of processes, each of which would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-console demo-cluster test coverage test-quick test-long attack check bench bench-quick generate contracts release release-contracts image audit format pictures pins clean

demo: $(INSTALLED) ## every way through the house, over real connections
	d1-gateway demo

demo-console: $(INSTALLED) ## the same, slowly, in a page to open in a browser
	d1-gateway demo --console

demo-cluster: $(INSTALLED) ## two gateways that share three NATS servers, one of each killed and started again
	d1-gateway demo --cluster

test: $(INSTALLED) ## every test
	pytest -q -n 6 --dist worksteal

coverage: $(INSTALLED) ## the same, and which lines no test reaches
	pytest -q -n 6 --dist worksteal --cov

test-quick: $(INSTALLED) ## what needs no server: unit tests, and the conformance of SQLite; within a minute
	pytest -q -n 2 --dist worksteal -m "not nats_server" tests/unit tests/conformance

attack: $(INSTALLED) ## ten times the attacks, kills, power cuts and lost notifications of make test; for the night
	D1_ATTACK_SCALE=10 pytest -q --timeout 3600 tests/fault/attacks

test-long: $(INSTALLED) ## ten times the random lives of brokers, clusters and backfills of make test; for the night
	D1_BROKER_SCHEDULES=200000 D1_CLUSTER_SCHEDULES=40000 D1_BACKFILL_LIVES=2000 pytest -q -n 2 --timeout 3600 $(RANDOM_LIVES)

RANDOM_LIVES := tests/unit/callbacks/test_broker_random.py tests/unit/callbacks/cluster/test_cluster_random.py \
	tests/unit/backfill/test_backfill_random.py tests/conformance/test_log_backfill.py

check: $(INSTALLED) ## everything that can be known without running it
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	yamllint --strict --config-file deploy/.yamllint.yaml deploy compose.yaml
	python tools/contracts.py check
	python tools/settings_reference.py check
	python tools/d1_assumptions.py check
	python tools/dashboard.py check
	hadolint Containerfile

bench: $(INSTALLED) ## what the gateway costs, beside servers that do less: docs/benchmarks.md; less than 20 minutes
	python -m bench

bench-quick: $(INSTALLED) ## half a minute of it, and whether the floors of bench/floors.toml hold
	python -m bench --quick

generate: $(INSTALLED) ## gen/, d1gateway/ and the client's contracts from proto/, pages of docs/ and the dashboard from the code
	python tools/contracts.py generate
	python tools/settings_reference.py write
	python tools/d1_assumptions.py write
	python tools/dashboard.py write

contracts: $(INSTALLED) ## dist/contracts and an archive of it: for callers in any language
	python tools/contracts.py distribute

release: $(INSTALLED) ## everything that a release consists of, into dist: the same bytes from the same commit
	python tools/release.py

image: $(INSTALLED) ## the images of gateway and sandbox, started; as root, with Debian's buildah, runc and mmdebstrap
	tools/image.sh $(BASE)
	python tools/image_trial.py

audit: $(INSTALLED) ## whether what is pinned has known vulnerabilities; fails too where no database of them answers
	pip-audit --strict --require-hashes --disable-pip --progress-spinner off $(AUDITED:%=--requirement %)

AUDITED := requirements.txt clients/python/requirements.txt requirements-build.txt

release-contracts: $(INSTALLED) ## make the present contracts the ones later ones may not break
	python tools/contracts.py release

format: $(INSTALLED)
	ruff check --fix .
	ruff format .
	buf format proto --write

pictures: $(INSTALLED) ## docs/images: the operators' page and the sandbox's console at two sizes; needs Debian's chromium
	python -m tools.operators_page_pictures
	python -m tools.console_pictures

pins: $(INSTALLED) ## renew the lists of pinned packages
	uv pip compile pyproject.toml --group dev $(PIN) --upgrade --output-file requirements-dev.txt
	uv pip compile pyproject.toml --all-extras $(PIN) $(SAME) --output-file requirements.txt
	uv pip compile --group build $(PIN) $(SAME) --output-file requirements-build.txt
	uv pip compile clients/python/pyproject.toml --extra cli $(PIN) $(SAME) --output-file clients/python/requirements.txt

SAME := --upgrade --constraint requirements-dev.txt
PIN := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
  --no-emit-package d1-gateway-contracts

$(INSTALLED): requirements-dev.txt pyproject.toml gen/pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable gen --editable . --editable clients/python
	touch $@

clean:
	rm -rf tests/interop/node/node_modules bench/unary/node/node_modules $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

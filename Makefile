# make demo   sets up and runs the main job end to end
# make unit   sets up and runs quick tests that need no service
# make test   sets up and runs all tests
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo kernels unit test test-image test-serve test-openeo coverage lint docs docs-version bench clean services services-image services-serve services-openeo services-all lock

$(VENV)/stamp: pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "hpckit needs Python 3.11 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,docs,bench]'
	touch $@

demo: $(VENV)/stamp
	$(BIN)/hpckit demo demo

# Compiled once for all that this environment runs: tests with folders of their own, and their jobs, compile nothing.
kernels: $(VENV)/stamp
	HPCKIT_KERNELS=$(VENV)/share/hpckit/kernels $(BIN)/hpckit kernels

AGAIN := echo "Once more, alone:" && $(BIN)/python -m pytest -v --last-failed --last-failed-no-failures none
# Files with tests of a mark: to import all others takes a quarter of a minute.
FILES = $$(grep -rlE 'mark\.$(1)\b' --include='test_*.py' tests)
# A memory of its own of what failed: the image may be tested beside everything else.
IMAGE_CACHE := -o cache_dir=.pytest_cache/image

# PostgreSQL with PostGIS for the tests of the store; what cannot be installed is skipped, and said so.
services:
	bash tests/services.sh

# The same, and what a real Apptainer needs.
services-image:
	bash tests/services.sh image

# The tests that need no service, without slow files and without properties (hypothesis): a minute on two cores.
unit: $(VENV)/stamp kernels
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not slow and not hypothesis' tests/unit

# The same, and a browser for the tests of the viewer.
services-serve:
	bash tests/services.sh serve

# The same, and openEO's own clients.
services-openeo:
	bash tests/services.sh openeo

services-all:
	bash tests/services.sh image serve openeo

# Four processes on two cores: much of the time tests wait for services.
# What fails there is tried once more, alone: services share two cores, and a loaded machine makes them late. Whatever
# fails again fails; what passes only alone is listed.
test: $(VENV)/stamp kernels services
	$(BIN)/python -m pytest -n 4 --dist loadgroup --no-loadscope-reorder -m 'not image and not serve and not openeo' || { test $$? -eq 1 && $(AGAIN); }

# A real Apptainer, an image built as an ordinary user, a campaign on Slurm inside it. Keeps what it made.
test-image: $(VENV)/stamp services-image
	$(BIN)/python -m pytest $(IMAGE_CACHE) -m image $(call FILES,image) || { test $$? -eq 1 && $(AGAIN) $(IMAGE_CACHE); }

# The server with real clients: a browser, STAC and JRC clients, logins.
test-serve: $(VENV)/stamp kernels services services-serve
	$(BIN)/python -m pytest -o cache_dir=.pytest_cache/serve -m serve $(call FILES,serve) || { test $$? -eq 1 && $(AGAIN) -o cache_dir=.pytest_cache/serve; }

# The openEO door with real clients: Python, JavaScript, the test suite of openEO, on a real Slurm.
test-openeo: $(VENV)/stamp kernels services services-openeo
	$(BIN)/python -m pytest -o cache_dir=.pytest_cache/openeo -m openeo $(call FILES,openeo) || { test $$? -eq 1 && $(AGAIN) -o cache_dir=.pytest_cache/openeo; }

# Which lines the unit tests run; compiled kernels are not seen by it.
coverage: $(VENV)/stamp
	$(BIN)/python -m pip install --quiet 'pytest-cov>=6'
	$(BIN)/python -m pytest -q -n 2 tests/unit --cov=hpckit --cov-report=term:skip-covered | tee coverage.txt

lint: $(VENV)/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/stamp kernels
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet --strict

# A version of the documentation beside the earlier ones, as a commit on the branch gh-pages, which a server of static
# pages shows: make docs-version VERSION=0.1
docs-version: $(VENV)/stamp kernels
	@test -n "$(VERSION)" || { echo "name the version: make docs-version VERSION=0.1"; exit 2; }
	NO_MKDOCS_2_WARNING=true $(BIN)/mike deploy --update-aliases "$(VERSION)" latest
	$(BIN)/mike set-default latest

bench: $(VENV)/stamp
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# The packages of images, with the hashes of all their files; the CUDA one is for its twelfth version.
LOCK := uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--extra postgis --extra remote --extra mpi --extra dask --extra serve pyproject.toml
lock: $(VENV)/stamp
	$(BIN)/python -m pip install --quiet 'uv>=0.5'
	$(BIN)/$(LOCK) --upgrade -o containers/requirements.lock
	$(BIN)/$(LOCK) --upgrade --extra cuda -o containers/requirements-cuda12.lock

clean:
	rm -rf demo site .pytest_cache .mypy_cache .ruff_cache

# `make reproduce` runs the mini study to its tables, figures and report; `make help` lists all targets.
PYTHON ?= python3
CORES ?= all
# Test processes. The tests of one file run in one process, because they share fixtures.
WORKERS ?= 2
PARALLEL := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
UV_VERSION := 0.13.9
COSMIC_RAY_VERSION := 8.7.0
GEOBENCH_VERSION := 1.0.0
BIN := .venv/bin
READY := .venv/.ready
# Validators that need other versions of some packages than the project.
STANDARDS := .venv/standards/.ready

# The environment's programs come first, also in Snakemake's shell commands.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Behind a TLS proxy only the machine's certificates are valid, but uv and pip use others. If HOME cannot be written, caches go
# into the project.
CERTIFICATES := $(firstword $(wildcard $(SSL_CERT_FILE) /etc/ssl/certs/ca-certificates.crt \
	/etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem))
ifneq ($(CERTIFICATES),)
export UV_SYSTEM_CERTS ?= true
export PIP_CERT ?= $(CERTIFICATES)
endif
ifeq ($(shell folder="$${XDG_CACHE_HOME:-$${HOME:?}/.cache}"; mkdir -p "$$folder" && test -w "$$folder" && echo usable),)
export XDG_CACHE_HOME := $(CURDIR)/.cache
endif

.DEFAULT_GOAL := help
.PHONY: help env reproduce test test-all test-gpu kill-test rehearsal real-scene mutation geobench-check lint bench mini-schedule lock \
	schema docs site pictures clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: $(READY) ## create .venv from requirements.lock (does nothing when it is up to date)

# Compiling at install time saves several seconds at each start of Python.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v >= (3, 11) else "Python >= 3.11 is needed, found %d.%d: run `make PYTHON=python3.11 ...`" % v)'
	test -x $(BIN)/uv || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(STANDARDS): tests/standards/requirements.lock $(READY)
	test -x .venv/standards/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv/standards
	$(BIN)/uv pip install --quiet --python .venv/standards/bin/python --require-hashes -r $<
	@touch $@

reproduce: $(READY) ## run the study of config.yaml to its tables, figures and report
	snakemake --cores $(CORES)

test: $(READY) $(STANDARDS) ## run all tests except slow ones (under 10 minutes on 2 cores)
	pytest $(PARALLEL) -m "not slow and not gpu"

test-all: $(READY) $(STANDARDS) ## run all tests except those for a GPU
	pytest $(PARALLEL) -m "not gpu"

test-gpu: $(READY) ## run the tests that need a CUDA device
	pytest -m gpu

kill-test: $(READY) ## kill a small study 60 times and compare its results (half an hour; ARGUMENTS="--help")
	PYTHONPATH=tests/helpers python tests/long/kill_study.py $(ARGUMENTS)

rehearsal: $(READY) ## fetch, prepare and start to train on datasets of the published sizes (half an hour, 25 GB; ARGUMENTS=FOLDER)
	PYTHONPATH=tests/helpers python tests/long/rehearsal.py $(ARGUMENTS)

real-scene: $(READY) ## compare methods on one real Landsat scene with real weights, where both are (a quarter of an hour)
	PYTHONPATH=tests/helpers python tests/long/real_scene.py

mutation: $(READY) ## change the code in many places and count what the tests notice (half an hour; ARGUMENTS="--help")
	$(BIN)/uv pip install --quiet --target .venv/mutation cosmic-ray==$(COSMIC_RAY_VERSION)
	PYTHONPATH=.venv/mutation python tests/long/mutation.py $(ARGUMENTS)

geobench-check: $(READY) ## read the simulated files with the geobench package, in a separate environment, and compare
	test -x .venv/geobench/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv/geobench
	$(BIN)/uv pip install --quiet --python .venv/geobench/bin/python geobench==$(GEOBENCH_VERSION)
	PYTHONPATH=tests/helpers python tests/long/geobench_reads.py .venv/geobench/bin/python

mini-schedule: $(READY) ## compare learning rates of the mini study by their validation scores (ten minutes)
	snakemake --cores $(CORES) --config study=mini --until prepare pretrain
	PYTHONPATH=src python benchmarks/mini_schedule.py

lint: $(READY) ## run ruff, snakefmt, mypy and snakemake --lint
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	mypy
	snakemake --lint

bench: $(READY) ## measure training steps and data loading
	python benchmarks/steps.py
	python benchmarks/layout.py
	python benchmarks/loader.py
	python benchmarks/descriptors.py
	python benchmarks/predict.py
	python benchmarks/size.py
	python benchmarks/packing.py

lock: ## resolve the newest versions of all dependencies into requirements.lock and the environments
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --universal --generate-hashes --no-header --quiet -o requirements.lock
	$(BIN)/uv pip compile tests/standards/requirements.in --python-version 3.11 --universal --generate-hashes --no-header --quiet -o tests/standards/requirements.lock
	$(BIN)/python workflow/envs/update.py

schema: $(READY) ## write the JSON schema in workflow/schemas/
	python docs/make/pages.py workflow/schemas/config.schema.json

docs: $(READY) ## write the JSON schema and the generated pages of docs/
	python docs/make/pages.py

site: $(READY) ## build the documentation site in site/, with executed tutorials (a minute)
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=src mkdocs build

pictures: $(READY) ## make docs/pictures/ from a finished mini study
	python docs/make/pictures.py

clean: ## remove results and mini data (never data/raw or weights)
	rm -rf results data/simulated data/prepared/mini weights/mini

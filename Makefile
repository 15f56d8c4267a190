# What a person does with this repository; `make` lists it. Everything is installed into .venv,
# at the versions of requirements-dev.lock, and only when pyproject.toml or the lock changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VENV := .venv
LOCK := requirements-dev.lock
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --no-compile --constraint $(LOCK)

# What pip would do by one core, and not of the half that nothing here imports. Some packages have
# templates among their modules, which fail.
UNUSED := /(tests?|testing|transformers/models|diffusers/(pipelines|models)|ray|moto|scipy|sympy|networkx|polars|pip|mypy)/
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '$(UNUSED)' $(VENV)/lib >/dev/null || true

# Tests start thousands of processes, each of which would compile all that it imports once more.
unexport PYTHONDONTWRITEBYTECODE

# A mirror of the Hub that tests start as a program; its libraries are not those of hffs.
OLAH := .venv-olah

# Apart as well: pip-audit brings libraries of its own.
AUDIT := .venv-audit

# And the peers of the benchmarks. They find torch, which energon takes, in .venv.
PEERS := .venv-bench
BENCH_PEERS := ratarmount==1.3.0 megatron-energon==7.4.1 py-spy==0.4.3
KOHYA := https://github.com/kohya-ss/sd-scripts
LIBRARIES := tests/trainers/libraries.txt
BENCH_TOOLS := git squashfuse_ll:squashfuse mksquashfs:squashfs-tools

# The tests that are measured on every check; of the others `make coverage` tells.
MEASURED := $(wildcard tests/core)

# Tests wait for half of their time; `make test WORKERS=0` shows their output in order.
WORKERS := $(shell echo $$(($$(nproc) * 2)))
PYTEST := -m pytest --numprocesses=$(WORKERS) --dist=worksteal

# Programs that the tests run on a mount or a page, to see what a user of them sees; git is for olah.
TEST_TOOLS := file git rsync getfattr:attr chromium fuse-overlayfs ffmpeg

# Tests read a mount by its ImageFolder. Apart, as transformers and diffusers do not load beside the
# wheel of PyPI, whose operators are compiled for another build of torch.
TORCHVISION := torchvision==0.28.0

# Videos and sounds of cameras and people.
TEST_TOOLS += /usr/share/forensics-samples/original-files/movie1:forensics-samples-files
TEST_TOOLS += /usr/share/tuxpaint/stamps/animals:tuxpaint-stamps-default

.PHONY: help system test-system olah demo test check lint types layers measured coverage bench soak faults fuzz audit lock clean bench-system profile

help: ## list what can be made
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' Makefile | expand -t 18

system:
	@VENV=$(VENV) .ci/setup

# Apart from `system`, so that `make --jobs` installs it while pip fills .venv.
test-system: system
	@VENV=$(VENV) .ci/setup $(TEST_TOOLS)

# Order-only: they look each time, which is quick, and never make a stamp old.
$(VENV)/.demo: pyproject.toml $(LOCK) | system
	@echo "setup: installing hffs into $(VENV)"
	@$(PIP) --editable '.[demo]'
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: pyproject.toml $(LOCK) | system
	@echo "setup: installing hffs and what its tests need into $(VENV) (torch is large)"
	@$(PIP) --editable '.[dev]'
	@$(PIP) --no-deps --upgrade --target $(VENV)/apart $(TORCHVISION)
	@$(COMPILE)
	@touch $@ $(VENV)/.demo

bench-system: system
	@VENV=$(VENV) .ci/setup $(BENCH_TOOLS)

# One that does not install here is left out; the results say so.
$(PEERS)/.ready: Makefile $(LIBRARIES) $(VENV)/.dev
	@echo "setup: installing peers of the benchmarks into $(PEERS)"
	@$(BIN)/python -m venv $(PEERS)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  >$$($(PEERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth
	@for peer in $(BENCH_PEERS); do \
	  $(PEERS)/bin/python -m pip install -qq $$peer || echo "setup: going on without $$peer"; \
	done
	@$(PEERS)/bin/python -m pip install -qq --no-deps --target $(PEERS)/libraries --requirement $(LIBRARIES) \
	  && { test -d $(PEERS)/trainers/sd-scripts \
	  || GIT_TERMINAL_PROMPT=0 git clone --quiet --depth 1 $(KOHYA) $(PEERS)/trainers/sd-scripts; } \
	  || echo "setup: going on without kohya's own scan"
	@touch $@

$(OLAH)/.ready: tests/olah.txt | system
	@echo "setup: installing olah, a mirror of the Hub, into $(OLAH)"
	@$(BIN)/python -m venv $(OLAH)
	@$(OLAH)/bin/python -m pip install -qq --requirement $<
	@touch $@

olah: $(OLAH)/.ready

demo: $(VENV)/.demo ## mount real photos and look at them, the whole way
	@$(BIN)/hffs demo

# What `make check` has run a moment ago need not run again: `make test BESIDES_CHECK=1`. Nor, where all has
# to be done in half an hour, what takes longest of all: benchmarks, soaks, trainers, clusters of Ray, and
# what draws or kills many times over; and of the rest fewer examples are drawn. With --jobs, mypy has one
# core while the tests begin.
LONG := tests/bench tests/soak tests/trainers tests/data/engines/test_ray.py tests/mount/test_cache_ray.py
LONG += tests/train/caching/test_killed.py tests/view/test_any_format.py
LEFT_OUT := $(if $(BESIDES_CHECK),$(addprefix --ignore=,tests/test_layers.py $(MEASURED) $(LONG)))

test: $(VENV)/.dev $(OLAH)/.ready test-system $(if $(BESIDES_CHECK),lint layers measured) ## every test; one only: .venv/bin/pytest tests/core -k names
	@$(if $(BESIDES_CHECK),HFFS_EXAMPLES=15) $(BIN)/python $(PYTEST) $(LEFT_OUT)

check: lint types layers measured ## lint, format, types, layers, and coverage of the core

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy

layers: $(VENV)/.dev
	@$(BIN)/python -m pytest --quiet tests/test_layers.py

measured: $(VENV)/.dev
	@$(BIN)/coverage erase
	@$(BIN)/coverage run $(PYTEST) --quiet $(MEASURED)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --include='hffs/core/*' --fail-under=100 --skip-covered

coverage: $(VENV)/.dev $(OLAH)/.ready test-system ## line by line, every test and the daemons that they start, in htmlcov/
	@$(BIN)/coverage erase
	@$(BIN)/coverage run $(PYTEST) --quiet
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage report --skip-covered --fail-under=90

# Of the command line alone: a shell may export LINES, the height of its terminal.
BENCH_LINES = $(if $(filter command,$(origin LINES)),$(LINES))

bench: export HFFS_TRAINERS ?= $(CURDIR)/$(PEERS)/trainers
bench: export HFFS_TRAINERS_LIBS ?= $(CURDIR)/$(PEERS)/libraries
bench: $(VENV)/.dev bench-system $(PEERS)/.ready ## hffs beside its peers, with verdicts, into docs/performance.md: make bench QUICK=1, or make bench LINES="files listing"
	@$(BIN)/python -m tests.bench $(BENCH_LINES) $(if $(QUICK),--quick) $(if $(BENCH_LINES),,--write)

profile: $(VENV)/.dev bench-system $(PEERS)/.ready ## where the time of a cold epoch goes, and a flame graph in docs/images/
	@$(BIN)/python -m tests.bench.profile

# Seconds, not minutes, in the tests; here as long as one likes.
soak: SECONDS := 3600
soak: $(VENV)/.dev ## random operations on real mounts against a model: make soak SECONDS=3600
	@$(BIN)/python -m tests.soak --seconds $(SECONDS)

faults: $(VENV)/.dev ## what mounts do under faults; writes the times into docs/operations.md
	@HFFS_MEASURE_FAULTS=1 $(BIN)/python -m pytest --quiet tests/mount/test_fault_*.py

# Each round draws anew, as long as there is time; what fails is told with what draws it again.
fuzz: SECONDS := 600
fuzz: $(VENV)/.dev ## hostile data sets through deciding and reading: make fuzz SECONDS=3600
	@end=$$(($$(date +%s) + $(SECONDS))); unset CI; \
	while [ $$(date +%s) -lt $$end ]; do \
	  HFFS_FUZZ_EXAMPLES=40 $(BIN)/python -m pytest --quiet --timeout=0 tests/fuzz; \
	done

# Not part of a check: it takes a network that tells of vulnerabilities, and fails without.
$(AUDIT)/.ready: Makefile | system
	@python3 -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -qq pip-audit==2.10.1
	@touch $@

audit: $(AUDIT)/.ready ## known vulnerabilities of what is locked: make audit SERVICE=osv
	@.ci/audit $(AUDIT)/bin/pip-audit --requirement $(LOCK) --no-deps --disable-pip \
	  --vulnerability-service $(or $(SERVICE),pypi) --progress-spinner off --format json

# A fresh environment, so that nothing which only lies about is locked. `+cpu` and the like name
# one machine's build of torch: the lock pins the version alone.
lock: | system ## write requirements-dev.lock anew
	@new=$$(mktemp -d) && trap 'rm -rf "$$new" build' EXIT && \
	$(BIN)/python -m venv $$new && \
	$$new/bin/python -m pip install -qq '.[dev]' && \
	{ sed '/^[^#]/,$$d' $(LOCK); \
	  $$new/bin/python -m pip freeze --all --exclude pip --exclude hffs-mount | sed 's/+.*//'; \
	} > $$new/lock && mv $$new/lock $(LOCK)

clean: ## remove what was built and measured here, .venv too
	@rm -rf $(VENV) $(OLAH) $(AUDIT) $(PEERS) build dist *.egg-info htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis

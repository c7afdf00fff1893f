# make study   install into .venv (first time only) and study the digits: ARGS="--seeds 5" adds flags
# make test    lint, format, types and the tests;  make test-all  adds the slow ones
# make docs    write docs/techniques/ again from the docstrings
.DEFAULT_GOAL := help
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help study test test-all lint docs clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3.11 python3.12 python3.13 python3
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# One thread for each of the two test workers: more would only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
SOURCES := pyproject.toml constraints.txt

help:
	@head -3 Makefile | cut -c3-

study: $(VENV)/.ready
	$(BIN)/equipoise study digits $(ARGS)

test: lint
	$(PYTEST) -m "not slow" $(ARGS)

test-all: lint
	$(PYTEST) $(ARGS)

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

docs: $(VENV)/.ready-dev
	$(BIN)/python docs/catalogue.py

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis

# A candidate counts when it starts, is new enough and can make an environment: a name on the PATH may be a shim that fails.
$(VENV)/.created:
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$($$python --version)"; \
	    "$$python" -m venv $(VENV) && touch $@; exit; \
	  fi; \
	done; \
	echo "equipoise needs Python 3.11 or newer with venv, but none of these is one: $(PYTHON)." \
	  "Install python3.11 (on Debian: and python3.11-venv), or name yours: make study PYTHON=/path/to/python" >&2; exit 1

# setuptools comes first and from the constraints, so that the build itself is pinned too.
$(VENV)/.ready: $(VENV)/.created $(SOURCES)
	@echo "installing the pinned packages (about a minute, once)"
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "installing the pinned development tools"
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

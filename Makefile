.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1
PYTEST := -m pytest -n 2 --dist loadfile --durations=5
# The models of the tests are too small for threads.
test test-all test-min: export OMP_NUM_THREADS := 1

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(BIN)/.installed ## the package with its development tools, in .venv

quickstart: $(BIN)/.installed ## from a corpus to a checkpoint in a few minutes, offline; its files go into quickstart/
	rm -rf quickstart
	$(BIN)/tacfn quickstart --output_dir quickstart

test: $(BIN)/.installed ## the quick tests, offline
	$(BIN)/python $(PYTEST) -m 'not slow'

test-all: $(BIN)/.installed ## every test, offline
	$(BIN)/python $(PYTEST)

.venv-min/.installed: pyproject.toml constraints-min.txt
	$(PYTHON) -m venv .venv-min
	.venv-min/bin/python -m pip install -q --disable-pip-version-check -c constraints-min.txt -e '.[dev]'
	@touch $@

test-min: .venv-min/.installed ## every test, at the lowest versions that pyproject.toml allows
	.venv-min/bin/python $(PYTEST)

browser: ## Debian's Chromium, which tests of pages open
	command -v chromium || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }

check: $(BIN)/.installed ## lint, formatting, docstrings, which way imports go, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/mypy

clean: ## remove the virtual environment and what tools left behind
	rm -rf $(VENV) .venv-min quickstart .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist

.PHONY: help install quickstart test test-all test-min browser check clean

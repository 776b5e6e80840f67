.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1

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

test: $(BIN)/.installed ## every test, offline
	$(BIN)/python -m pytest --durations=5

.venv-min/.installed: pyproject.toml constraints-min.txt
	$(PYTHON) -m venv .venv-min
	.venv-min/bin/python -m pip install -q --disable-pip-version-check -c constraints-min.txt -e '.[dev]'
	@touch $@

test-min: .venv-min/.installed ## every test, at the lowest versions that pyproject.toml allows
	.venv-min/bin/python -m pytest

check: $(BIN)/.installed ## lint and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean: ## remove the virtual environment and what tools left behind
	rm -rf $(VENV) .venv-min quickstart .pytest_cache .ruff_cache *.egg-info build dist

.PHONY: help install quickstart test test-min check clean

# Everything a newcomer needs: python3 (3.11 to 3.13) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2
# What a run of the tests may take, in seconds; 0 is no limit.
QUICK_S ?= 120
# Where the tests' lakes have their stores: nothing for their folders, or postgres.
STORE ?=
TEST_S ?= 1500
PYTEST = $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -rs

# Where it is set, as in images of containers, every process that a test starts would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo quick test lint types house bench clean

help:
	@echo "make demo    index the standard library's docstrings, ask them questions, check the record"
	@echo "make quick   style, types, architecture and the rooms' tests that take no server and no time"
	@echo "make house   how large the modules are, and which way their arrows point"
	@echo "make test    style, types, architecture and every test; STORE=postgres with lakes in PostgreSQL"
	@echo "make bench   the figures, each against a baseline of the same run; WHAT=keyed a part, SIZE=full larger"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/python -m demo

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy tools/house.py

house: $(VENV)/.dev
	$(BIN)/python tools/house.py

quick: lint types house
	$(PYTEST) --ignore=tests/promises -m 'not server and not slow and not crash and not fuzz' \
		--budget $(QUICK_S)

test: lint types house
	AFFIDAVIT_TEST_STORE=$(STORE) $(PYTEST) --budget $(TEST_S)

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(WHAT) $(if $(filter full,$(SIZE)),--full)

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info bench/out demo-lake

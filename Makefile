# Every target makes its own environment first; nothing else is needed than Python 3.10 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

.PHONY: demo test test-slow lint docs release clean
.DEFAULT_GOAL := demo

$(STAMP): pyproject.toml constraints.txt
	@echo "1 of 3: an environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "2 of 3: PyTorch and what else is needed; a few minutes"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@echo "3 of 3: installed"
	@touch $@

demo: $(STAMP)
	$(BIN)/fsmnet demo --out demo

# One thread per test process: as many processes as cores do the rest.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not slow and not cuda"

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or cuda"

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Builds dist/, checks what the package index would show, and tries both files in empty environments.
release: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[release]'
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m pytest -m slow tests/test_release.py

clean:
	rm -rf $(VENV) dist docs/_build demo .pytest_cache .mypy_cache .ruff_cache

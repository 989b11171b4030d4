# make demo: photos to a measured int8 model. make test: everything the project promises. Both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types test-device test-tflite clean

demo: $(STAMP)
	$(BIN)/edgetl demo

test: lint types
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

$(STAMP): pyproject.toml device/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ./device -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-device .venv-tflite build dist .pytest_cache .mypy_cache .ruff_cache

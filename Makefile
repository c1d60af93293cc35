# `make` alone lists the targets. Every target sets up what it needs: a virtual environment in .venv and the built wheel in
# it. Safe to run twice; the wheel is rebuilt only when its sources have changed.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE $(shell find src -type f -not -name '*.pyc')

.PHONY: help demo test lint bench dist docs-check clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

dist/.wheel: $(SOURCES) | $(BIN)/python
	rm -rf dist && mkdir -p dist
	$(BIN)/pip wheel -q . --no-deps -w dist
	touch $@

$(VENV)/.test: dist/.wheel
	$(BIN)/pip install -q --force-reinstall --no-deps dist/softmax-*.whl
	$(BIN)/pip install -q "$$(echo dist/softmax-*.whl)[test]"
	touch $@

test: $(VENV)/.test ## build the wheel, install it with the test extra, run the tests against it
	$(BIN)/pytest

# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test check bench lock clean services

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP)  ## the whole way on this machine: Loki stand-in -> bus -> Splunk HEC stand-in and archive
	$(BIN)/loki-siem demo

test: $(STAMP) services  ## all tests; starts Apache Kafka on loopback first
	$(BIN)/python -m tests.support.run_tests

services: $(STAMP)  ## fetch what the tests start (Apache Kafka's jars, by Maven; helm, built by Go; Azurite, by npm)
	$(BIN)/python -m tests.support.helm fetch
	$(BIN)/python -m tests.support.kafka fetch
	if command -v npm >/dev/null; then $(BIN)/python -m tests.support.azurite; fi

check: $(STAMP)  ## style, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) services  ## the hot path and delivery, by stage; LINES=FILE uses your own lines
	$(BIN)/python -m benchmarks.run

lock:  ## pin every dependency by hash, without download addresses
	$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install -q uv
	$(VENV)/lock/bin/uv pip compile -q pyproject.toml --extra dev --generate-hashes --universal --python-version 3.11 \
		--no-header --no-emit-index-url --no-emit-find-links -o requirements.lock
	$(VENV)/lock/bin/uv pip compile -q pyproject.toml --extra image --generate-hashes --universal --python-version 3.11 \
		-c requirements.lock --no-header --no-emit-index-url --no-emit-find-links -o requirements-image.lock

clean:  ## remove what the build made; keeps state/ and out/
	rm -rf $(VENV) .services build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

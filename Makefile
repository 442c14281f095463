# What a developer types. Every target makes the virtual environment it needs.
PYTHON ?= python3
VENV ?= .venv
# where torch is from, if not from where everything else is: https://download.pytorch.org/whl/cpu is small
TORCH_INDEX ?=
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# tests wait more than they compute: two processes, each with brokers of its own; a file's tests stay together
PYTEST := $(BIN)/python -m pytest --durations=30 -n 2 --dist loadfile

.PHONY: help install demo test test-slow test-spark lint format docs check bench bench-model bench-scale soak clean

help:
	@echo "make install | demo | test | test-slow | test-spark | lint | format | docs | check | bench | bench-model | bench-scale | soak | clean"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --no-deps --index-url $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)")
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,demo]'
	touch $(INSTALLED)

install: $(INSTALLED)

demo: install
	$(BIN)/convention-broker demo

test: install
	$(PYTEST)

test-spark: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fink]'
	CONVENTION_REQUIRE=spark $(BIN)/python -m pytest tests/broker_plugin/test_fink.py

test-slow: install
	$(PYTEST) -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install
	$(BIN)/python -m broker_plugin.reference_pages docs/reference
	$(BIN)/python -m broker_plugin.telemetry.metrics_reference > docs/metrics.md.new && mv docs/metrics.md.new docs/metrics.md
	$(BIN)/convention-broker check-config --example > deploy/config.new && mv deploy/config.new deploy/config.example.toml
	{ sed '/^  groups:/,$$d' deploy/kubernetes/operators/prometheusrule.yaml; sed '1,/^groups:/{/^groups:/!d}; s/^\(.\)/  \1/' deploy/prometheus/alerts.yml; } > deploy/rules.new
	mv deploy/rules.new deploy/kubernetes/operators/prometheusrule.yaml

check: lint test

bench: install
	$(BIN)/python -m benchmarks.bench_decode
	$(BIN)/python -m benchmarks.bench_store
	$(BIN)/python -m benchmarks.bench_ingest
	$(BIN)/python -m benchmarks.bench_ingest --steady 50000
	$(BIN)/python -m benchmarks.bench_classify --steady 50000
	$(BIN)/python -m benchmarks.bench_replay

bench-model: install
	$(BIN)/python -m benchmarks.bench_model
	$(BIN)/python -m benchmarks.bench_training
	$(BIN)/python -m benchmarks.bench_worker
	$(BIN)/python -m benchmarks.bench_members

bench-scale: install
	bash -o pipefail -c '$(BIN)/python -m benchmarks.bench_scale | tee /dev/stderr | tail -n 1 | $(BIN)/python -m benchmarks.capacity'

soak: install
	$(BIN)/python -m benchmarks.soak

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

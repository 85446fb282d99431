# Every target builds the virtual environment that it needs; nothing but Python 3.11, make and a package
# registry has to be there. Another interpreter: make test PYTHON=/path/to/python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PEERS := $(VENV)/.installed-peers

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint bench validate clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## solve and certify the Merton problem; results in demo/
	$(BIN)/bellax run merton --out demo

test: $(DEV) ## run the tests
	$(BIN)/python -m pytest

test-long: $(DEV) ## run the tests that `make test` leaves out
	$(BIN)/python -m pytest -m long

lint: $(DEV) ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# The options of the test suite are dropped: no workers, no run-time checks of types, no warnings as errors.
bench: $(PEERS) ## time bellax and its peers in one run; options: make bench BENCH="-k rbc --results"
	$(BIN)/python -m pytest benchmarks -o addopts= -p no:cacheprovider -W default \
		-o "python_files=bench_*.py" --import-mode=importlib \
		--benchmark-columns=median,rounds --benchmark-sort=name $(BENCH)

validate: $(INSTALLED) ## check every gallery model against its reference
	$(BIN)/bellax validate

clean: ## remove caches, builds and results
	rm -rf build dist demo .benchmarks .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove the virtual environment as well
	rm -rf $(VENV)

$(INSTALLED): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null \
		|| { echo "make: no '$(PYTHON)' here; bellax needs Python 3.11 or newer. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: bellax needs Python 3.11 or newer, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1). Name another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

# bellgrid brings torch along, from PyPI the one for GPUs, of which the benchmarks use the CPU only. What is installed
# already is kept: see benchmarks/README.md for the smaller one.
$(PEERS): $(DEV)
	$(BIN)/python -m pip install --quiet -e ".[dev,peers]"
	@touch $@

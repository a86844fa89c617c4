# Needs Python 3.11 or newer and make; everything else goes into .venv, which is made when it is missing
# or out of date. Another interpreter: make PYTHON=python3.13 ... (after `make clean`).

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
TYPED := $(wildcard src tests examples benchmarks)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check soak bench docs clean

help:
	@echo "make demo    the tour: a calling-card business in one process (DECK=file.csv: with your own rates)"
	@echo "make test    the tests"
	@echo "make check   lint, formatting, types"
	@echo "make soak    the long tests: races, crash loops, large decks"
	@echo "make bench   measure on this machine"
	@echo "make docs    the documentation, into build/docs"
	@echo "make clean   remove .venv and everything built"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("cardbill needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; choose one with make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@echo "Preparing $(VENV) (once, about half a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	@$(RUN) examples/demo.py $(if $(DECK),--deck "$(DECK)")

test: $(READY)
	@$(RUN) -m pytest -q -n auto

check: $(READY)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy $(TYPED)

# A soak test may take longer than the watchdogs of an ordinary one allow.
soak: $(READY)
	@HYPOTHESIS_PROFILE=soak $(RUN) -m pytest -m soak --timeout=1800 -o faulthandler_timeout=1860

bench: $(READY)
	@$(RUN) benchmarks/run.py

docs: $(READY)
	@$(RUN) -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

clean:
	@rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The two commands of the README, from a clean clone with Python >= 3.11, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test phantom check clean

demo: $(VENV)/demo.installed  ## set everything up and train a tiny model on real scans, on the CPU
	$(BIN)/firempo demo

test: $(VENV)/dev.installed check  ## set up and run every check and test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

phantom: $(VENV)/demo.installed  ## train and compare four objectives on procedural images; FLAGS=--full for all
	$(BIN)/python examples/phantom/run.py $(FLAGS)

check: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/%.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), sys.version' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) firempo-demo build dist

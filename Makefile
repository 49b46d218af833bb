# `make train` and `make test` do all the set-up on a machine that has Python 3.10 or later, make and git.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXAMPLES_VENV ?= .venv-examples

.PHONY: train test examples bench lint format docs wheel install clean

# One thread: on a busy machine several wait for each other.
train: install
	OMP_NUM_THREADS=1 $(BIN)/python recipes/iemocap/train.py hparams/mtl_cr.yaml

# One thread a process: small systems train no faster on more. One process more than cores, since some tests wait for
# others. In the order of the files: xdist would begin with those of many tests and end with those of few, which here are
# the long ones (experiments, clusters).
test: PROCESSES = $(shell $(PYTHON) -c "import os; print(os.cpu_count() + 1)")
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadscope --no-loadscope-reorder

# The distributions under examples/, in an environment of their own: openSMILE brings pandas and pyarrow.
examples: EXAMPLES_PYTHON = $(abspath $(EXAMPLES_VENV))/bin/python
examples:
	$(MAKE) install VENV=$(EXAMPLES_VENV)
	$(EXAMPLES_PYTHON) -m pip install --no-deps resemblyzer==0.1.4
	for each in examples/*/; do \
		$(EXAMPLES_PYTHON) -m pip install --editable "$$each[test]" && \
		(cd $$each && OMP_NUM_THREADS=1 $(EXAMPLES_PYTHON) -m pytest) || exit 1; \
	done

# One after another; they want a quiet machine.
bench: install
	$(BIN)/python benchmarks/run_all.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site of docs/, in site/; a warning is an error.
docs: install
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(BIN)/mkdocs build --strict

# What a registry takes: a source distribution and a wheel, in dist/.
wheel: install
	$(BIN)/python -m pip install --quiet --editable ".[release]"
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or later is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable ".[test]"
	@touch $@

clean:
	rm -rf $(VENV) $(EXAMPLES_VENV) build dist site *.egg-info .pytest_cache .ruff_cache

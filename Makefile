# Entry points. Everything else is Snakemake: `snakemake --help-all` with .venv active.
# TORCH_INDEX: package index to take torch from, when you want another build (see README).
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -q
SNAKEMAKE := $(BIN)/python -m snakemake --cores $(CORES) --rerun-incomplete --scheduler greedy

.PHONY: setup all test unit lint resume clean contact-sheet FORCE

all: setup
	$(SNAKEMAKE)

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet -c constraints.txt torch --index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,peers]'
	touch $(STAMP)

# Snakemake alone knows what is up to date, so make always asks it.
figures/%: setup FORCE
	$(SNAKEMAKE) $@

results/%: setup FORCE
	$(SNAKEMAKE) $@

contact-sheet: setup
	$(SNAKEMAKE) figures/contact_sheet.pdf

# The whole of it: linters, unit tests with coverage (kernels once more without compilation), process
# tests, and the workflow: every rule, the literal commands, kills, rehearsal.
test: lint
	rm -f .coverage
	$(PYTEST) tests/unit tests/training tests/hub -n 2 --cov --cov-report=
	NUMBA_DISABLE_JIT=1 $(PYTEST) tests/unit/kernels tests/unit/layout -m "not compiled" -n 2 --cov --cov-append --cov-report=
	$(BIN)/python -m coverage report --fail-under=85 --skip-covered
	$(PYTEST) tests/gpu tests/rules tests/workflow -n 2 --dist worksteal

unit: setup
	$(PYTEST) tests/unit -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/lint-imports

# After a crash or SIGKILL: end orphaned jobs, unlock if the owner is dead, finish what is left.
resume: setup
	$(BIN)/python -m seqlab resume
	$(SNAKEMAKE)

clean:
	rm -rf results/* results/.lineage figures/* logs/* state/* .snakemake
	git checkout -q -- results figures logs state 2>/dev/null || true

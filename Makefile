# Entry points. Everything else is Snakemake: `snakemake --help-all` with .venv active.
# TORCH_INDEX: package index to take torch from, when you want another build (see README).
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
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

test: setup
	$(BIN)/python -m pytest tests/unit -n 2 -q
	$(BIN)/python -m pytest tests --ignore tests/unit -q

unit: setup
	$(BIN)/python -m pytest tests/unit -n 2 -q

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

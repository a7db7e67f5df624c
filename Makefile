# Two commands do it all: `make up` and `make test`. Nothing is needed but Python 3.11 or newer.
PYTHON ?= python3
PORT ?= 8000
DATA ?= .data
WORKERS ?= 1
ARGS ?=
FUZZ ?= 600
OSV ?= https://api.osv.dev/v1/query
BIN := .venv/bin

.PHONY: help up test lint demo load bench bench-imaging fairness fuzz chaos screenshots contact-sheet dashboards reference lock clean
.DEFAULT_GOAL := help

help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/up.stamp ## run the whole system here, on real servers (PORT=8000 DATA=.data WORKERS=1)
	@exec $(BIN)/python -m devstack up --data '$(DATA)' --port $(PORT) --workers $(WORKERS)

test: .venv/dev.stamp ## run every test (ARGS=… goes to pytest)
	@$(BIN)/python -m pytest $(ARGS)

lint: .venv/dev.stamp ## check style, types, import rules, spelling and known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/codespell
	@.ci/audit $(BIN)/python '$(OSV)'

demo: .venv/up.stamp ## send a folder of photos to a running system and save the results (PORT=8000)
	@$(BIN)/python -m loadtest.demo --url http://127.0.0.1:$(PORT) $(ARGS)

load: .venv/dev.stamp ## load a running system for a minute and judge it (PORT=8000 ARGS="steady30")
	@$(BIN)/python -m loadtest run $(or $(ARGS),short) --url http://127.0.0.1:$(PORT)

bench: .venv/up.stamp ## measure the CPU milliseconds of one photo in every process
	@$(BIN)/python -m loadtest.bench $(ARGS)

bench-imaging: .venv/up.stamp ## measure ten recipes beside the least that Pillow can do, and the memory of children
	@$(BIN)/python -m loadtest.imaging $(ARGS)

fairness: .venv/up.stamp ## measure what one photo waits while another client's 500 are rendered
	@$(BIN)/python -m loadtest.fairness $(ARGS)

fuzz: .venv/dev.stamp ## fuzz codec, recipes and templates for ten minutes (FUZZ=600)
	@$(BIN)/python -m pytest tests/zoo/test_fuzz.py --fuzz $(FUZZ) --timeout 0 $(ARGS)

chaos: .venv/dev.stamp ## break everything at random and check that nothing is lost (ARGS="--seed 7 --minutes 30")
	@$(BIN)/python -m tests.chaos $(ARGS)

screenshots: .venv/dev.stamp ## take the README's pictures from a running system (PORT=8000)
	@$(BIN)/python docs/screenshots.py --url http://127.0.0.1:$(PORT)

contact-sheet: .venv/dev.stamp ## draw every kind of mark over every kind of photo, for docs/images
	@$(BIN)/python docs/contact_sheet.py

dashboards: .venv/dev.stamp ## write the dashboards, and draw them as the last minutes were (ARGS="--minutes 10")
	@$(BIN)/python -m observability.dashboards
	@$(BIN)/python docs/panels.py --data '$(DATA)' $(ARGS)

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header pyproject.toml

reference: .venv/dev.stamp ## write docs/reference.md from what the operations say of themselves
	@$(BIN)/python docs/reference.py

lock: .venv/python.stamp ## lock the newest allowed versions
	$(BIN)/pip install --quiet uv
	$(LOCK) --upgrade -o requirements.lock
	$(LOCK) --upgrade --extra devstack -c requirements.lock -o requirements-devstack.lock
	$(LOCK) --upgrade --extra devstack --extra dev -c requirements-devstack.lock -o requirements-dev.lock

clean: ## remove the environment and the local data
	rm -rf .venv .data

.venv/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ebbmark needs Python 3.11 or newer; say which: make PYTHON=python3.13 …" >&2; exit 2; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/up.stamp: requirements-devstack.lock pyproject.toml | .venv/python.stamp
	@echo "Installing into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-devstack.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/up.stamp
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# One word for everything: `make run` starts the portal, `make test` and `make lint` check it, `make help` tells the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test lint bench setup assets lock clean

UV_VERSION := 0.13.9
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
UV := .venv/bin/uv
COMPILE := $(UV) pip compile -q --generate-hashes --no-header --no-emit-index-url --python-version 3.11 --universal

# A production environment that leads nowhere: for the checks that only read the settings.
PRODUCTION := env -u DEBUG -u THINGS_INSECURE_HTTP \
	SECRET_KEY=only-for-the-checks-of-make-lint-0123456789-abcdefghijklmnopqrstuvwxyz \
	THINGS_KEYRING=k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= \
	ALLOWED_HOSTS=portal.example \
	DATABASE_URL='postgresql:///things?host=/nonexistent' REDIS_URL=redis://nowhere.invalid/0

help: ## Show this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: setup assets ## Start everything: stores, portal, workers, simulated network (ARGS="--port 8080")
	@exec .venv/bin/things up $(ARGS)

test: setup assets ## Run the whole suite (ARGS="tests/devices -k search")
	$(PY) -m pytest -n 2 $(ARGS)

lint: setup ## Format, style, types, layers, templates, migrations, production settings
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	git ls-files -co --exclude-standard -- '*.html' | xargs -r .venv/bin/djade --check
	.venv/bin/lint-imports
	$(PRODUCTION) $(PY) -m mypy .
	mkdir -p static/vendor
	$(PRODUCTION) $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(PY) manage.py check --deploy --fail-level WARNING

bench: setup assets ## Measure on stores of its own (ARGS="name of a benchmark")
	THINGS_HOME=$(CURDIR)/.things/bench .venv/bin/things run $(PY) manage.py bench $(ARGS)

setup: .venv/.stamp ## Make the environment of requirements-dev.lock in .venv

assets: .venv/.stamp
	@.venv/bin/things assets

.venv/.stamp: requirements-dev.lock pyproject.toml Makefile
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and there is no python3 on PATH."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PY) -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@test "$$($(UV) --version 2>/dev/null | cut -d' ' -f2)" = $(UV_VERSION) || \
		$(PY) -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(UV) pip sync -q --python $(PY) --require-hashes --compile-bytecode requirements-dev.lock
	$(UV) pip install -q --python $(PY) --no-deps --no-build-isolation -e .
	@touch $@

lock: ## Take the newest allowed versions of all dependencies (UPGRADE= keeps them)
	$(COMPILE) $(UPGRADE) pyproject.toml -o requirements.lock
	$(COMPILE) $(UPGRADE) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
lock: UPGRADE ?= --upgrade

clean: ## Remove what this makes, except the data of the portal (.things)
	rm -rf .venv node_modules static/vendor build *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

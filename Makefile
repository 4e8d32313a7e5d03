# What people and CI run. `make` alone explains itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.run-ready
DEV    := $(VENV)/.dev-ready
PEERS  := .venv-peers/.ready
COMPILED := var/compiled

.DEFAULT_GOAL := help
.PHONY: help setup up test test-compiled compiled check format docs lock loadtest prove fuzz soak bench bench-routing bench-proxy bench-node bench-cold clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(RUN): requirements/node.txt
	@PYTHON="$(PYTHON)" sh scripts/venv.sh node
	@touch $@

$(DEV): requirements/dev.txt | $(RUN)
	@PYTHON="$(PYTHON)" sh scripts/venv.sh dev
	@touch $@

$(PEERS): requirements/peers.txt
	@PYTHON="$(PYTHON)" sh scripts/venv.sh peers .venv-peers
	@touch $@

setup: $(DEV) ## everything for developing: tools, peers to compare with, a real Consul, a browser
	@$(BIN)/python scripts/test_parts.py

up: $(RUN) ## the main job: a whole fleet on this machine
	@$(BIN)/python -m fleetgate up $(ARGS)

test: setup ## all tests, with real parts
	@$(BIN)/python -m pytest $(ARGS)

$(COMPILED)/.ready: scripts/compile_gateway.py $(wildcard $(foreach dir,gateway gateway/* wire tls tracing discovery fleetgate,$(dir)/*.py)) | $(DEV)
	@$(BIN)/python scripts/compile_gateway.py $(COMPILED)
	@touch $@

compiled: $(COMPILED)/.ready ## the gateway as its image has it: pure modules compiled by mypyc; needs a C compiler

test-compiled: setup compiled ## the gateway's tests once more, on the compiled modules
	@$(BIN)/pytest -o pythonpath="$(COMPILED) ." tests/gateway $(ARGS)

fuzz: $(DEV) ## odd bytes to the gateway from both sides, 20,000 of each, other ones every time
	@$(BIN)/python -m pytest tests/gateway/test_fuzz_requests.py tests/gateway/test_fuzz_answers.py \
		--hypothesis-profile=long --timeout=0 $(ARGS)

soak: $(DEV) ## a million mixed requests, hang-ups on either side: is anything kept?
	@$(BIN)/python -m loadtest.soak $(ARGS)

check: $(DEV) ## formatting, lint, types, import directions, containers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_containers.py

format: $(DEV) ## put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(DEV) ## pages made from the code
	@$(BIN)/python -m scripts.configuration_page

lock: $(DEV) ## pin every dependency anew, with hashes
	@sh scripts/lock.sh

loadtest: $(DEV) ## locust against a fleet of its own
	@$(BIN)/python -m loadtest.run $(ARGS)

prove: setup ## load, and in it nodes die, hang and roll, Consul is wiped: what was lost?
	@$(BIN)/python -m loadtest.prove $(ARGS)

bench: bench-proxy bench-routing bench-node bench-cold ## every comparison with the real programs

bench-routing: $(DEV) ## routing beside HAProxy, Envoy, nginx, Traefik on one emulated fleet
	@$(BIN)/python -m loadtest.compare $(ARGS)

bench-proxy: $(DEV) compiled ## CPU and latency of a proxied request, beside Envoy, HAProxy, nginx, Traefik; needs wrk
	@$(BIN)/python -m loadtest.proxy $(ARGS)

bench-node: $(DEV) $(PEERS) ## one model behind our node, Ray Serve, LitServe, BentoML, mosec, and bare
	@$(BIN)/python -m loadtest.serving $(ARGS)

bench-cold: $(DEV) ## a script per request, a process with its input open, the warm node
	@$(BIN)/python -m loadtest.cold $(ARGS)

clean: ## remove what was made: environment, artefacts, logs
	rm -rf $(VENV) .venv-peers var .pytest_cache .mypy_cache .ruff_cache .hypothesis

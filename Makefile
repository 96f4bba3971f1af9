# make help lists the targets. GNU make 4, a POSIX shell and Python 3.11 are all it needs.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV ?= .venv
PY := $(VENV)/bin/python
# Arguments of `tokenvault dev`, of pytest, and how many tests run at once.
ARGS ?=
PYTEST_ARGS ?=
PYTEST_JOBS ?= 2
BENCH_ARGS ?=
KILL_ARGS ?=
CAMPAIGN_ARGS ?=
# What buf breaking compares with: a commit, or nothing to let the script choose.
BREAKING_BASE ?=

RUNTIME := $(VENV)/runtime.stamp
DEV := $(VENV)/dev.stamp
NODE_MODULES := tests/node/node_modules/.stamp
PROJECTS := pyproject.toml clients/python/pyproject.toml
NODE = $$($(PY) tests/node/which.py)
BUF = $(NODE) tests/node/node_modules/@bufbuild/buf/bin/buf
PROTOS := $(sort $(wildcard proto/tokenvault/v1/*.proto))
GENERATED := clients/python/tokenvault/v1
export VENV PYTHON

# A venv that was moved, or whose Python is gone, is made anew.
$(shell if [ -e $(VENV)/home ] && { [ "$$(cat $(VENV)/home)" != "$(CURDIR)" ] || \
	[ ! -x $(PY) ] || [ -e $(VENV)/installing ]; }; then rm -f $(VENV)/*.stamp; fi)

# $(call protoc,FOLDER) generates into FOLDER/tokenvault/v1.
define protoc
PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m grpc_tools.protoc -I proto \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) \
	$(PROTOS)
endef

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run ARGS=--once      does the main job once and stops"
	@echo "  make test PYTEST_ARGS='-k envelope -x'"

.PHONY: run
run: $(RUNTIME) ## The whole service on this machine, with everything that it needs
	@exec $(VENV)/bin/tokenvault dev $(ARGS)

.PHONY: test test-long
test: $(DEV) $(NODE_MODULES) ## All tests but the long ones
	$(PY) -m pytest -m "not long" -n $(PYTEST_JOBS) --dist loadfile $(PYTEST_ARGS)

test-long: $(DEV) $(NODE_MODULES) ## The long tests: load, soak, faults
	$(PY) -m pytest -m long --timeout 1200 $(PYTEST_ARGS)

.PHONY: bench
bench: $(DEV) ## Measures GetAccessToken beside bare echoes (BENCH_ARGS='--rounds 3')
	$(PY) -m bench.get_access_token $(BENCH_ARGS)

.PHONY: campaigns
campaigns: $(DEV) ## Every campaign but the kill matrix (CAMPAIGN_ARGS='--only race --limit-s 600')
	$(PY) -m tests.campaigns.all $(CAMPAIGN_ARGS)

.PHONY: kill-matrix
kill-matrix: $(DEV) ## SIGKILL at every point of a refresh, 10,000 times (goes on where it was stopped)
	$(PY) -m tests.campaigns.kill_matrix $(KILL_ARGS)

.PHONY: check check-style check-types check-imports check-proto check-client check-docs check-structure
check: check-style check-types check-imports check-proto check-client check-docs check-structure ## All rules that are programs

check-style: $(DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

check-types: $(DEV)
	$(VENV)/bin/mypy

check-imports: $(DEV)
	$(VENV)/bin/lint-imports --no-logo

check-client: $(DEV)
	$(PY) tools/sync_client.py --check

check-docs: $(DEV)
	$(PY) tools/reference.py --check

check-structure: $(DEV)
	$(PY) -m pytest -q tests/architecture

check-proto: $(DEV) $(NODE_MODULES)
	@echo "generated code is what make proto makes"
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call protoc,$$fresh) && \
	diff -r -x __init__.py -x py.typed -x __pycache__ "$$fresh/tokenvault/v1" $(GENERATED) || \
	{ echo "the generated code is stale: run make proto and commit it" >&2; exit 1; }
	@echo "buf lint"; $(BUF) lint
	@sh tools/proto-breaking.sh "$(BREAKING_BASE)" $(BUF)

.PHONY: proto
proto: $(DEV) ## Generates the Python code from proto/
	@rm -f $(GENERATED)/*_pb2*.py $(GENERATED)/*_pb2*.pyi
	$(call protoc,clients/python)

.PHONY: client
client: $(DEV) ## Writes the synchronous client from the asynchronous one
	$(PY) tools/sync_client.py

.PHONY: docs
docs: $(DEV) ## Writes the pages that are made from the code
	$(PY) tools/reference.py

.PHONY: lock
UV_COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	--no-emit-package tokenvault-client
lock: $(DEV) ## Resolves requirements/*.txt anew (LOCK=--upgrade for newer versions)
	$(UV_COMPILE) $(LOCK) --all-extras -o requirements/dev.txt pyproject.toml requirements/build.in
	$(UV_COMPILE) --extra embedded -c requirements/dev.txt -o requirements/runtime.txt \
		pyproject.toml requirements/build.in

$(RUNTIME): requirements/runtime.txt $(PROJECTS) tools/venv.sh
	@sh tools/venv.sh runtime

$(DEV): requirements/dev.txt requirements/runtime.txt $(PROJECTS) tools/venv.sh
	@sh tools/venv.sh dev

# The stamp stands inside node_modules, which npm ci empties first.
$(NODE_MODULES): tests/node/package.json tests/node/package-lock.json tests/node/.npmrc | $(DEV)
	@echo "tokenvault: installing what the tests need of npm (once)"
	@cd tests/node && $(abspath $(PY)) which.py --npm ci --loglevel=error
	@touch $@

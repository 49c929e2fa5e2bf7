# A machine with make and Python 3.11 or newer has all that is needed; uv and the rest come into
# folders of this one. Another Python than python3: make test PYTHON=python3.13
PYTHON ?= python3
# How to resolve dependencies: --locked takes uv.lock as it is.
SYNC ?= --locked
# For make fuzz: how long, from which seed, and next to which other revision, if any.
MINUTES ?= 10
SEED ?= 1
# An older version fails at what this one has learned since.
AGAINST ?=

# Many tests wait for a server or a signal, so two of them share a core.
WORKERS ?= $(shell expr 2 \* "$$(getconf _NPROCESSORS_ONLN)")

UV = .uv/bin/uv
BIN = .venv/bin
INSTALLED = .venv/.installed
PLUGINS = .meltano/.installed
PEER = .npm/.installed
RELEASE = .release/.installed
FLEET = examples/dagster/.venv/.installed
AIRFLOW = examples/airflow/.venv/.installed
PAGE = .page/.installed
PAGE_DEMO = output/page/audit.duckdb
EACH = $(patsubst %/,%,$(dir $(wildcard detections/pyproject.toml plugins/*/pyproject.toml)))
REVISION = $(or $(shell git rev-parse --short '$(AGAINST)^{commit}' 2>/dev/null),$(AGAINST))
OTHER = $(if $(AGAINST),.fuzz/$(REVISION)/.venv/bin/python)

.PHONY: help test test-all pytest lint test-slow test-plugins test-page test-fleet generate build demo page \
	page-picture page-speed bench fuzz fleet fleet-proof fleet-airflow fleet-scheduler fleet-bench \
	rehearsal release-check clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

test: lint pytest ## Run the tests, the linter, and the type checker

test-all: test test-slow test-plugins test-page test-fleet rehearsal ## The same, and everything that needs an environment or minutes
	$(MAKE) fuzz MINUTES=1

pytest: $(INSTALLED) ## Run only the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(INSTALLED) ## Check style, format, and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/zizmor --offline --quiet --persona pedantic .github

test-slow: $(PLUGINS) $(PEER) $(RELEASE) ## Run the tests with real targets, Meltano, and databases
	$(BIN)/python -m pytest -n auto -m slow

test-plugins: $(patsubst %,.plugins/%/.installed,$(EACH)) ## Run each other package's tests where only it is installed
	for each in $(EACH); do (cd $$each && \
	"$(CURDIR)/.plugins/$$each/bin/python" -m pytest -n auto) || exit; done

test-page: $(PAGE) ## Run the tests and the type checker of the page, in its environment
	cd examples/page && ../../.page/bin/mypy && ../../.page/bin/python -m pytest

test-fleet: $(PLUGINS) $(FLEET) ## Run the fleet's definitions in Dagster, and a small proof
	cd examples/dagster && .venv/bin/python -m pytest
	$(BIN)/python -m testing.fleet --organizations 4 --entries 2000 --workers 2 --hour 60 --passes 2

generate: $(INSTALLED) ## Regenerate what is derived from the code: definitions, tables, .env.example
	$(BIN)/python -m generate

build: $(INSTALLED) ## Build the wheels and the source archives
	$(UV) build --quiet --all-packages --no-build-isolation --python $(BIN)/python

rehearsal: $(INSTALLED) $(RELEASE) ## Release all packages to an index on this machine and use them
	$(BIN)/python -m release rehearse

# The shell reads TAG from its environment, so that nothing in it is taken for make's.
release-check: $(INSTALLED) $(RELEASE) ## Build and check what a tag releases: TAG=target-otlp-v0.2.0
	$(BIN)/python -m release check "$$TAG"

# Says what takes so long before it starts.
demo: ## Read a stand-in for Sentry into a file, twice, and look for incidents
	@$(MAKE) -q $(PLUGINS) >/dev/null 2>&1 || echo "The first time, this installs what it needs into \
	hidden folders of this checkout: about 40 seconds on a fast connection."
	@$(MAKE) --no-print-directory --silent $(PLUGINS)
	@$(BIN)/python -m demo

ifndef SENTRY_AUDIT_PAGE_DATABASE
# In the recipe alone: with an exported variable, what installs Meltano's plugins would look there, too.
page: OVER = SENTRY_AUDIT_PAGE_DATABASE=$(PAGE_DEMO) MELTANO_DATABASE_URI=sqlite:///output/page/.meltano/meltano.db
page: $(PAGE_DEMO)
endif

page: $(PAGE) ## Look at the log in a browser: the demo's, or SENTRY_AUDIT_PAGE_DATABASE
	@$(OVER) .page/bin/streamlit run examples/page/page.py

page-picture: $(PAGE) $(PAGE_DEMO) ## Draw docs/page.png: the page over the demo's log, in Chromium
	@cd examples/page && ../../.page/bin/python -m picture

page-speed: $(PAGE) ## Measure how long the page takes to show 200,000 entries
	@cd examples/page && PYTHONPATH=../.. ../../.page/bin/python -m speed

picture: $(PLUGINS) ## Draw docs/terminal.svg: the progress bar and what the demo prints
	$(BIN)/python -m demo.picture

bench: $(INSTALLED) ## Measure how fast the tap and the target are
	$(BIN)/python -m benchmarks

fleet: $(PLUGINS) $(FLEET) ## Show a fleet of groups and shards in Dagster, on http://127.0.0.1:3000
	$(BIN)/python -m testing.fleet --organizations 8 --entries 4000 --serve

fleet-proof: $(PLUGINS) $(FLEET) ## Prove that a fleet under Dagster loses nothing, whatever is killed
	$(BIN)/python -m testing.fleet

fleet-airflow: $(PLUGINS) $(AIRFLOW) ## Run the fleet's DAGs with `airflow dags test`
	$(BIN)/python -m testing.fleet --organizations 4 --entries 2000 --under airflow-dags-test \
	--kill-every 0 --hour 30 --passes 1

fleet-scheduler: $(PLUGINS) $(AIRFLOW) ## Prove it under Airflow's scheduler, with LocalExecutor
	$(BIN)/python -m testing.fleet --organizations 16 --entries 40000 --under airflow-scheduler

fleet-bench: $(PLUGINS) $(FLEET) ## Measure a first backfill with 1, 2 and 4 workers
	$(BIN)/python -m testing.fleet --organizations 8 --entries 20000 --measure

fuzz: $(INSTALLED) $(OTHER) ## Attack the tap with random logs, faults, and kills
	$(BIN)/python -m testing.fuzz --minutes $(MINUTES) --seed $(SEED) \
	$(if $(OTHER),--against $(OTHER))

clean: ## Remove everything that make created
	rm -rf .uv .venv .meltano .npm .fuzz .page .plugins .release .mypy_cache .pytest_cache .ruff_cache \
	.hypothesis dist output examples/dagster/.venv examples/airflow/.venv

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"Python 3.11 or newer is needed. Name one: make PYTHON=python3.13")'
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

$(INSTALLED): $(UV) pyproject.toml detections/pyproject.toml $(wildcard plugins/*/pyproject.toml) \
uv.lock
	UV_PYTHON=$(PYTHON) UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 \
	$(UV) sync --quiet --all-packages $(SYNC)
	@touch $@

# What a release takes, apart from the tests' environment.
$(RELEASE): $(INSTALLED)
	UV_PYTHON=$(PYTHON) UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.release \
	$(UV) sync --quiet --only-group release $(SYNC)
	@touch $@

# An orchestrator never meets singer-sdk's pins.
examples/%/.venv/.installed: examples/%/pyproject.toml examples/%/uv.lock examples/fleet/pyproject.toml | $(UV)
	UV_PYTHON=$(PYTHON) UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 \
	$(UV) sync --quiet --project examples/$* $(SYNC)
	@touch $@

# The page's own lock file and environment.
$(PAGE): examples/page/pyproject.toml examples/page/uv.lock detections/pyproject.toml | $(UV)
	UV_PYTHON=$(PYTHON) UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT="$(CURDIR)/.page" \
	$(UV) sync --quiet --directory examples/page $(SYNC)
	@touch $@

# The demo's log as target-duckdb has loaded it; make clean removes it.
$(PAGE_DEMO): | $(PLUGINS)
	@echo "Loading the demo's log …"
	@$(BIN)/python -m demo.database

# A package and what it needs, its tests' dependencies included, and nothing of the other packages.
.plugins/%/.installed: %/pyproject.toml uv.lock | $(UV)
	UV_PYTHON=$(PYTHON) UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT="$(CURDIR)/.plugins/$*" \
	$(UV) sync --quiet --directory $* --all-extras $(SYNC)
	@touch $@

# Another revision of the tap, with the libraries that it was locked to.
.fuzz/%/.venv/bin/python: | $(UV)
	rm -rf .fuzz/$*
	mkdir -p .fuzz/$*
	git archive $* | tar -x -C .fuzz/$*
	cd .fuzz/$* && UV_PYTHON=$(PYTHON) UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 \
	"$(CURDIR)/$(UV)" sync --quiet --frozen --no-dev

# The DuckDB that target-duckdb needs has no wheel for Python 3.14, see meltano.yml.
$(PLUGINS): $(INSTALLED) meltano.yml Makefile
	$(BIN)/meltano --log-level=warning install tap-sentry-audit mapper-sentry-ocsf target-jsonl target-postgres \
	target-otlp \
	$$($(BIN)/python -c 'import sys; print("target-duckdb" * (sys.version_info < (3, 14)))')
	@mkdir -p output
	@touch $@

# A receiver that others wrote, for the tests of target-otlp; they do without where npm is not there.
$(PEER):
	@mkdir -p .npm
	@if command -v npm >/dev/null; then npm install --silent --ignore-scripts --no-audit --no-fund \
	--fetch-retries=0 --fetch-timeout=20000 --prefix .npm @elastic/mockotlpserver@0.10.0 \
	|| echo "npm's mock receiver: not installed"; fi
	@touch $@

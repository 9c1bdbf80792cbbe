# Thin by intention: each target makes sure that the environments are there, then calls one Python module.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The machine's own uv if it works, otherwise one in .uv/. It must not fetch interpreters, whatever is configured.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON_PREFERENCE := only-system
export UV_PROJECT_ENVIRONMENT := .venv
unexport VIRTUAL_ENV
# Each task of Airflow, each execution and each submission is a Python process: without bytecode it compiles thousands
# of modules before it does anything.
unexport PYTHONDONTWRITEBYTECODE

PYTHON := .venv/bin/python
BEGUN := $(shell date +%s)
# What takes a while says so, and for how long.
SHOW := python3 devstack/machine/progress.py
ROOT_ENV := .venv/.synced
FLINK_ENV := flink_jobs/.venv/.synced
JARS := .devstack-cache/.fetched
# The Airflow of the lock, and older ones that the provider supports: each in an environment of its own.
AIRFLOW := $(shell sed -n 's/^constraint-dependencies = \["apache-airflow==\(.*\)"\]/\1/p' pyproject.toml)
OLDER_AIRFLOWS := $(patsubst tests/airflow/requirements-%.txt,%,$(wildcard tests/airflow/requirements-*.txt))
VERSION ?= $(AIRFLOW)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: env ## the whole path on this machine: from card transactions to features, through Airflow
	@DEMO_BEGUN=$(BEGUN) $(PYTHON) -m devstack.demo

.PHONY: up
up: env ## start the local stack (Kafka, Flink, Hopsworks server, Airflow) and wait until all of it works
	@$(PYTHON) -m devstack up

.PHONY: down
down: $(ROOT_ENV) ## end it; WIPE=1 removes its state as well
	@$(PYTHON) -m devstack down $(if $(WIPE),--wipe)

.PHONY: status
status: $(ROOT_ENV) ## what runs, how it is, what it takes
	@$(PYTHON) -m devstack status || true

.PHONY: plan
plan: $(ROOT_ENV) ## FILE=…: what a deployment of a pipeline file would change in the stack
	@eval "$$($(PYTHON) -m devstack env)"; \
		$(PYTHON) -m hopsworks_flink.cli plan $(or $(FILE),dags/pipelines/card_transactions.yaml) $(ARGS) || test $$? -eq 2

.PHONY: logs
logs: $(ROOT_ENV) ## PART=kafka follows the log of one part
	@$(PYTHON) -m devstack logs -f $(PART)

# A process more than there are cores: these tests wait for a fifth of their time.
PROCESSES = $(shell python3 -c "import os; print(1 + min(os.cpu_count(), 7))")
WITHOUT_STACK = -q -n $(PROCESSES) --dist worksteal -m "not integration"
# Which tests share a process, and with it a stack, and how many stacks there are: tests/conftest.py.
# Hypothesis draws the same examples each time: what new ones find is the business of `make check`, not of a run that
# decides on a change.
EVERYTHING := -n 3 --dist loadscope --no-loadscope-reorder --durations 10 --durations-min 1 --hypothesis-profile ci

.PHONY: check
check: env lint ## lint, types and all tests that need no stack, in some minutes; ARGS="-k kafka" goes to pytest
	@$(PYTHON) -m pytest $(WITHOUT_STACK) $(ARGS)

# Each Airflow's summary is a line of its own; .ci/run ends with the framed one, which is that of the whole run.
ON_AIRFLOW := -m pytest -q -n 2 --dist worksteal --disable-warnings -m airflow \
	$(shell grep -rl --include='test_*.py' 'pytest.mark.airflow' tests)

FAILED_ALONE := -n 0 --last-failed --last-failed-no-failures none

.PHONY: test
test: env lint $(if $(ARGS),,$(OLDER_AIRFLOWS:%=.venv-airflow-%/.synced)) ## everything: check, older Airflows, and what needs the stack; ARGS="-k kafka" goes to pytest
	@code=0; \
		$(if $(ARGS),,$(foreach version,$(OLDER_AIRFLOWS),echo "testing with Airflow $(version)"; \
			.venv-airflow-$(version)/bin/python $(ON_AIRFLOW) \
			$(if $(AGAIN),|| .venv-airflow-$(version)/bin/python $(ON_AIRFLOW) $(FAILED_ALONE)) \
			|| { echo "failed with Airflow $(version)"; code=1; };)) \
		echo "testing $(or $(ARGS),everything)"; \
		$(PYTHON) -m pytest $(if $(ARGS),,$(EVERYTHING)) $(ARGS) || code=1; \
		exit $$code

.PHONY: test-airflow
test-airflow: test-airflow-$(VERSION) ## what differs between Airflows, on VERSION=3.0.6, 3.1.8 or 3.3.2; needs no stack

.PHONY: $(addprefix test-airflow-,$(AIRFLOW) $(OLDER_AIRFLOWS))
test-airflow-$(AIRFLOW): $(ROOT_ENV)
	@echo "testing with Airflow $(AIRFLOW)"
	@$(PYTHON) $(ON_AIRFLOW) $(ARGS)

$(addprefix test-airflow-,$(OLDER_AIRFLOWS)): test-airflow-%: .venv-airflow-%/.synced
	@echo "testing with Airflow $*"
	@.venv-airflow-$*/bin/python $(ON_AIRFLOW) $(ARGS)

.PHONY: test-python
test-python: doctor ## the tests without services on another Python of this machine: VERSION=3.10, 3.12 or 3.13
	@echo "testing with Python $(VERSION)"
	@UV_PROJECT_ENVIRONMENT=.venv-python-$(VERSION) $(UV) sync --frozen --quiet --python $(VERSION)
	@.venv-python-$(VERSION)/bin/python -m pytest --disable-warnings $(WITHOUT_STACK) $(ARGS)

.PHONY: lock-airflow
lock-airflow: $(ROOT_ENV) # renews the packages that are tested with an older Airflow
	@$(UV) pip compile --quiet --no-config --universal --python-version 3.10 --no-annotate \
		--custom-compile-command "make lock-airflow VERSION=$(VERSION)" \
		tests/airflow/$(VERSION).in pyproject.toml --group dev --output-file tests/airflow/requirements-$(VERSION).txt

.PHONY: requirements
requirements: $(ROOT_ENV) # renews the packages that `hopsworks-flink requirements` prints
	@$(UV) export --frozen --no-dev --no-hashes --no-emit-project --no-annotate --no-header --quiet \
		--output-file plugins/hopsworks_flink/requirements/airflow-$(AIRFLOW).txt
	@$(foreach version,$(OLDER_AIRFLOWS),$(UV) pip compile --quiet --no-config --universal --python-version 3.10 \
		--no-annotate --no-header --constraint tests/airflow/requirements-$(version).txt tests/airflow/$(version).in \
		pyproject.toml --output-file plugins/hopsworks_flink/requirements/airflow-$(version).txt;)

.PHONY: sameness
sameness: env ## stream, batch and DuckDB on random pipelines, against each other; EXAMPLES=20 of them, on STACKS=2
	@echo "SEED=$(or $(SEED),$(BEGUN))"
	@SAMENESS_EXAMPLES=$(or $(EXAMPLES),20) SAMENESS_SEED=$(or $(SEED),$(BEGUN)) DEVSTACK_TEST_PARTS=kafka,flink-taskmanager \
		$(PYTHON) -m pytest -v -n $(or $(STACKS),2) --dist worksteal tests/integration/values/test_sameness.py

.PHONY: engines
engines: env ## the native engine beside SQL's windows on random pipelines with late events; EXAMPLES=5 of them
	@ENGINES_EXAMPLES=$(or $(EXAMPLES),5) DEVSTACK_TEST_PARTS=kafka,flink-taskmanager \
		$(PYTHON) -m pytest -v tests/integration/values/test_engines.py

.PHONY: changes
changes: env ## every kind of change of a running pipeline, its rows against an independent computation
	@CHANGES=all $(PYTHON) -m pytest tests/integration/jobs/test_changes.py $(ARGS)

BY_SQL := $(addprefix tests/integration/,jobs/test_faults.py jobs/test_growth_live.py values/test_poison.py \
	alone/test_tls.py airflow/test_feature_path.py)
.PHONY: test-sql
test-sql: env ## faults, growth, poison, TLS and the feature path once more, with `engine: sql` where a file names none
	@TEST_ENGINE=sql $(PYTHON) -m pytest -q $(or $(ARGS),$(BY_SQL))

.PHONY: compose-file
compose-file: $(ROOT_ENV) ## writes docker-compose.yaml out of the local stack's configuration
	@$(PYTHON) -m devstack.docker file > docker-compose.yaml.new
	@mv docker-compose.yaml.new docker-compose.yaml

.PHONY: compose-test
compose-test: $(ROOT_ENV) ## the stack in containers: builds, walks the demo's path, restarts, rescales, removes all; needs Docker
	@COMPOSE_TEST=1 $(PYTHON) -m pytest -s -v tests/integration/alone/test_compose.py $(ARGS)

.PHONY: rescale
rescale: env ## another parallelism of a running pipeline on two TaskManagers, its rows against an independent computation
	@CHANGES=parallelism DEVSTACK_TASKMANAGERS=2 DEVSTACK_TASK_SLOTS=3 $(PYTHON) -m pytest tests/integration/jobs/test_changes.py $(ARGS)

.PHONY: cluster
cluster: env ## two TaskManagers, high availability and an object store: rescale, kill the JobManager, compare all values
	@$(UV) sync --frozen --quiet --inexact --group cluster
	@CLUSTER_TEST=1 $(PYTHON) -m pytest -v tests/integration/alone/test_cluster.py $(ARGS)

.PHONY: chaos
chaos: env ## kills, cuts off and fills up every part in turn; SEED=7 for another order
	@FAULTS_LONG=1 FAULTS_SEED=$(or $(SEED),1) DEVSTACK_TEST_PARTS=kafka,flink-taskmanager,hopsworks,hopsworks-onlinefs \
		$(PYTHON) -m pytest -m chaos -s -o faulthandler_timeout=7200 $(ARGS)

.PHONY: bench
bench: env ## what the pipeline costs beside Java jobs; writes docs/benchmarks; ARGS="--quick" for a short one
	@$(UV) sync --frozen --quiet --inexact --group bench
	@$(PYTHON) -m tests.benchmarks $(ARGS)

.PHONY: browser
browser: env ## the status page and Hopsworks' pages in a real browser (apt-get install chromium); renews pictures in docs/assets
	@$(UV) sync --frozen --quiet --inexact --group browser
	@$(PYTHON) -m pytest -q tests/pages/test_browser.py tests/devstack/hopsworks/site/test_browser.py $(ARGS)
	@$(PYTHON) -m tests.pages.pictures

.PHONY: flink-picture
flink-picture: env # renews the picture of the demo's job in Flink's pages; the demo is up
	@$(UV) sync --frozen --quiet --inexact --group browser
	@$(PYTHON) -m tests.pages.flink_picture

.PHONY: docs
docs: $(ROOT_ENV) ## the documentation as a site, in site/; fails at a link that leads nowhere
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

.PHONY: lint
lint: $(ROOT_ENV) ## ruff and mypy
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --check --quiet
	@.venv/bin/mypy --no-error-summary --num-workers 2

.PHONY: audit
audit: $(filter .uv/%,$(UV)) ## known vulnerabilities of the locked Python packages; says so where no database can be reached
	@python3 devstack/machine/audit.py --uv $(UV)

.PHONY: env
env: $(ROOT_ENV) $(FLINK_ENV) $(JARS) ## both Python environments and the jars

.PHONY: doctor
doctor: $(filter .uv/%,$(UV)) ## whether this machine has what the stack needs
	@python3 devstack/machine/doctor.py java maven python --uv $(UV)

.uv/bin/uv:
	@command -v python3 >/dev/null || { echo "Python is missing: install Python 3.10 to 3.12, e.g. apt-get install python3 python3-venv." >&2; exit 1; }
	@python3 -m venv .uv || { rm -rf .uv; echo "python3 cannot make environments: install its venv module, e.g. apt-get install python3-venv." >&2; exit 1; }
	@$(SHOW) "fetching uv into .uv/" .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"

$(ROOT_ENV): pyproject.toml uv.lock plugins/hopsworks_flink/__init__.py | doctor
	@$(SHOW) "fetching the packages of Airflow" $(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

# Not the project's configuration: its override of SQLAlchemy is for Airflow 3.2 and newer, older ones need none.
.venv-airflow-%/.synced: tests/airflow/requirements-%.txt plugins/hopsworks_flink/__init__.py | $(ROOT_ENV)
	@$(UV) venv --quiet --no-config --clear --python $(PYTHON) .venv-airflow-$*
	@$(SHOW) "fetching the packages of Airflow $*" $(UV) pip sync --quiet --no-config --python .venv-airflow-$*/bin/python $<
	@$(UV) pip install --quiet --no-config --no-deps --python .venv-airflow-$*/bin/python --editable .
	@touch $@

$(FLINK_ENV): flink_jobs/pyproject.toml flink_jobs/uv.lock | doctor
	@$(SHOW) "fetching the packages of Flink" $(UV) sync --frozen --quiet --compile-bytecode --directory flink_jobs
	@touch $@

$(JARS): devstack/kafka/pom.xml flink_jobs/connectors/pom.xml flink_jobs/connectors/parquet/pom.xml $(shell find flink_jobs/java devstack/flink/java -type f) | $(ROOT_ENV)
	@$(PYTHON) -m devstack.jars
	@touch $@

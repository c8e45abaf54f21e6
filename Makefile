# Needs Python 3.11+; everything else, a Java too, is installed from the locked requirements into .venv, or .venv-3.13
# with PYTHON=python3.13. Kafka's jars are downloaded. `make test` installs Prometheus and Alertmanager where it may.
PYTHON ?= python3
VENV := $(or $(patsubst python%,.venv-%,$(filter python3.%,$(notdir $(PYTHON)))),.venv)
BIN := $(VENV)/bin
IN_TWO := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
.DEFAULT_GOAL := help
LOCKS := pipeline/surgetank/kafka/local
LOCKED_KAFKAS := $(patsubst $(LOCKS)/kafka-%.lock,%,$(wildcard $(LOCKS)/kafka-*.lock))

.PHONY: help demo test test-kafka unit weeks judge check bench chaos install clean rules reference edge-lock kafka-lock audit-dependencies needs-python needs-programs

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: install  ## The whole thing on real Kafka, about two minutes: spike, live figures, audit
	@$(BIN)/surgetank demo $(ARGS)

test: needs-programs install  ## All tests, on real brokers, in two processes, each with brokers of its own
	@$(IN_TWO) $(ARGS)

test-kafka: install  ## Workers, exactly once, lag, audit on each supported Kafka, or on one: KAFKA_VERSION=3.9
	@for version in $(or $(KAFKA_VERSION),$(LOCKED_KAFKAS)); do echo "Apache Kafka $$version" \
	  && SURGETANK_KAFKA_VERSION=$$version $(BIN)/pytest -m kafka_versions tests/cluster tests/contract $(ARGS) || exit 1; done

unit: install  ## The tests that need no Kafka and no Prometheus, in two processes; PYTHON=python3.13 for another
	@$(IN_TWO) tests/unit $(ARGS)

weeks: install  ## Quiet weeks and faults of simulated traffic: false alarms, and delays until faults are seen
	@$(BIN)/python -m tests.support.simulated_traffic $(ARGS)

judge: install  ## Simulated rollouts: how soon bad versions are rolled back, how often good ones are blamed
	@$(BIN)/python -m tests.support.judge_simulation $(ARGS)

check: install  ## Format, lint, types, import rules, schema compatibility
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --config .importlinter --no-cache > $(VENV)/imports.log || { cat $(VENV)/imports.log; exit 1; }
	@$(BIN)/surgetank schemas check
	@echo "check: all clean"

bench: install  ## Surgetank beside a hand-written loop, plain Faust and Quix Streams
	@$(BIN)/surgetank bench $(ARGS)

rules: install  ## Write the Prometheus rules and Grafana dashboards from the metric catalogue and the objectives
	@$(BIN)/python -m ops.alerts $(ARGS)

reference: install  ## Write docs/settings.md and docs/metrics.md from the settings and the metric catalogues
	@mkdir -p docs
	@$(BIN)/python -m surgetank.settings.reference > docs/settings.md
	@$(BIN)/python -m surgetank.telemetry.reference > docs/metrics.md

edge-lock: install  ## Write requirements/edge.txt, what `surgetank score` needs, from requirements/worker.txt
	@$(BIN)/python -m ops.edge_requirements

# In an environment of its own: pip-audit is none of the locked packages. It skips a package that the database does not
# know, which --strict makes an error, so that "no known vulnerabilities" means all of them.
AUDIT := .venv-audit
audit-dependencies: needs-python  ## Look up the locked packages in the database of known vulnerabilities
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) \
	  && $(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1; } > /dev/null 2>&1 || true
	@for each in worker dev; do \
	  status=0; $(AUDIT)/bin/pip-audit --strict --progress-spinner off --disable-pip --require-hashes \
	    -r requirements/$$each.txt > $(AUDIT)/report 2>&1 || status=$$?; \
	  if grep -qE '^(Found|No known)' $(AUDIT)/report; then cat $(AUDIT)/report; test $$status = 0 || exit $$status; \
	  else echo "requirements/$$each.txt was not audited: pip-audit or its database cannot be reached ($(AUDIT)/report)"; fi; \
	done

chaos: install  ## Kills workers and brokers, then counts every event
	@$(BIN)/surgetank chaos exactly-once $(ARGS)

kafka-lock:  ## Write the lock files of Kafka's jars; needs Maven. KAFKA_VERSION=4.5.0: of this version only, also a new one
	@for version in $(or $(KAFKA_VERSION),$(LOCKED_KAFKAS)); do rm -rf build/kafka-jars \
	  && mvn --batch-mode --quiet --file ops/kafka-jars/pom.xml -Dkafka.version=$$version dependency:copy-dependencies \
	    -DincludeScope=runtime -Dmdep.useRepositoryLayout=true -DoutputDirectory=$(CURDIR)/build/kafka-jars/repository \
	  && (cd build/kafka-jars/repository && find * -name '*.jar' | LC_ALL=C sort | xargs sha256sum > ../kafka.lock) \
	  && mv build/kafka-jars/kafka.lock $(LOCKS)/kafka-$$version.lock || exit 1; done

install: $(VENV)/installed  ## Make .venv from the locked requirements

$(VENV)/installed: requirements/dev.txt pyproject.toml | needs-python
	@echo "installing into $(VENV) (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m surgetank.compiled
	@touch $@

needs-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Surgetank needs Python 3.11 or later as '$(PYTHON)': install it, or set PYTHON=..., or use Docker (docker compose up)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) has no module ensurepip, which makes a virtual environment: install it (Debian: apt-get install python3-venv)"; exit 2; }

needs-programs:
	@sh tests/install-programs.sh

clean:  ## Remove .venv and everything that was made here
	@rm -rf .venv .venv-* .surgetank build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

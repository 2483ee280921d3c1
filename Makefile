# Thin on purpose: every target is one command that can be typed by hand.
SHELL := /bin/sh
PYTHON ?= python3
RUN := .venv/bin/python
LAB := $(RUN) -m tests.lab
PACKAGES := $(PYTHON) -m tests.machine_packages
COMMAND := make test
NEEDS_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
    { echo "nvproxy-fleet needs Python 3.11 or newer on this machine; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another with 'make PYTHON=python3.12 …'." >&2; exit 1; }

.PHONY: demo demo-down test test-long test-vm bare unit lint bench fuzz mutants matrix faults upstream validation docs venv clean help

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

demo: .venv/ready ## two real hosts in a lab, converged and verified
	$(LAB) up --newest-only
	.venv/bin/pyinfra -y inventories/lab.py deploys/site.py --limit gpu-a --limit gpu-b --data report=full

demo-down: .venv/ready ## take the lab down again
	$(LAB) down

test: .venv/ready lint ## everything: the lab and its hosts included
	@$(PACKAGES) tests lab vm
	@mkdir -p build
	@{ $(LAB) parts >build/lab-parts.log 2>&1; exec $(RUN) -m pytest -m vm >build/test-vm.log 2>&1; } & beside=$$!; \
	  trap 'kill $$beside' INT TERM; $(RUN) -m pytest -m "not vm"; status=$$?; \
	  wait $$beside || status=1; cat build/test-vm.log; exit $$status

test-long: .venv/ready ## the lab's tests in their long forms: breaks, real failures, layouts, drift, Debian's driver
	@$(PACKAGES) tests lab
	$(RUN) -m pytest --long -m "not vm" tests/e2e

test-vm: .venv/ready ## the lab's tests on hosts that are virtual machines, and their long forms (an hour without KVM)
	@$(PACKAGES) tests lab vm
	$(RUN) -m pytest --machine vm --long tests/e2e

bare: ## the tests on a fresh Debian that has only what the README names; COMMAND="make demo", FROM_NOTHING=1
	$(NEEDS_PYTHON)
	@$(PYTHON) -m tests.bare_machine $(if $(FROM_NOTHING),--from-nothing) $(COMMAND)

unit: .venv/ready ## what needs no lab
	@$(PACKAGES) tests
	$(RUN) -m pytest -m "not lab and not gpu"

lint: .venv/ready ## ruff, mypy, and who may import whom
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache --no-logo

bench: .venv/ready ## the wrapper's cost, as ratios to its budgets, into docs/benchmarks.md
	@$(PACKAGES) bench
	$(RUN) -m tests.bench

fuzz: .venv/ready ## a million odd specs, and a million inputs for each parser (half an hour on two processors)
	-$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	$(RUN) -m tests.fuzz

mutants: .venv/ready ## the judge broken in one place at a time: does a test fail? (long; make mutants SAMPLE=300 SEED=1)
	@$(PACKAGES) tests
	$(RUN) -m tests.mutants $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(MODULE),--only judge/$(MODULE)) $(if $(TESTS),--tests $(TESTS))

docs: .venv/ready ## the pages that are made from the code
	$(RUN) docs/make_reference.py

matrix: .venv/ready ## every mode, toolkit and runsc, into docs/compatibility.md (7 minutes, where the lab is built)
	$(RUN) -m tests.matrix

faults: .venv/ready ## a fault at each step of a site run on a lab host, into docs/faults.md (an hour)
	@$(PACKAGES) tests lab
	$(RUN) -m tests.faults.site

upstream: .venv/ready ## what is newer than what is pinned, and what it changes (minutes for each; docs/upstream.md)
	$(RUN) -m tests.upstream

validation: .venv/ready ## OCI's validation programs under runsc and under the launcher, line by line (docs/testing.md)
	$(RUN) -m tests.validation

venv: .venv/ready ## pyinfra and what else the deploys need, into .venv

clean: ## what make made here; the lab's cache and reports/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build

.venv/ready: requirements/dev.txt
	$(NEEDS_PYTHON)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(PACKAGES) venv
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

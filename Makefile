# Everything that you or a CI machine runs. `make` alone lists it.
# Nothing here spells the folder's own path, so it may hold spaces and umlauts.

PYTHON ?= python3
ARGS ?=

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Always through `-m`: the scripts in .venv/bin break where the folder's name is long or the folder moved.
PY := .venv/bin/python
# The rules call `trainrelay` and `python`: they mean those of .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHON

.PHONY: help setup demo test quick test-long test-slurm test-plugin check mutants faults faults-slurm bench bench-slurm bench-plan bench-hook bench-logs real-logs exact slurm-rig slurm-rig-down slurm-rig-status system-packages dist docs reference clean

help:  ## this list
	@echo "trainrelay: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | while IFS=$$'\t' read -r target text; do \
	  printf '  %-16s %s\n' "$$target" "$$text"; done
	@echo "Python other than python3: make setup PYTHON=python3.11"

setup:  ## make .venv with all that the other targets need (they do it themselves)
	@scripts/setup.sh

demo: setup  ## train two miniature systems on this machine's CPU, down to their reports
	@SECONDS=0; \
	$(PY) -m snakemake --profile profiles/demo && \
	echo "demo: done in $$SECONDS s (set-up apart)" && \
	echo "demo: open $$PWD/runs/index.html"

test: setup  ## run the tests; one of them: make test ARGS="-k promote"
	@scripts/system-packages.sh
	@# Three of them fill two cores: many tests wait for processes more than they compute.
	@$(PY) -m pytest -n 3 --dist loadgroup $(ARGS)

quick: setup  ## the tests that start no process, in under a minute: after each change
	@$(PY) -m pytest -q -n 2 -m "not process and not long" $(ARGS)

test-long: setup  ## the tests that make test has no time for: whole matrices, Slurm's slow ways to end a job
	@scripts/system-packages.sh
	@$(PY) -m pytest -n 2 --dist loadgroup -m long $(ARGS)

test-slurm: setup  ## every test of the Slurm executor and on a real Slurm, the long ones too
	@scripts/system-packages.sh
	@$(PY) -m pytest -m "" plugin/tests tests/slurm $(ARGS)

test-plugin:  ## the executor plugin's own tests, where it alone is installed (.venv-plugin)
	@scripts/setup.sh plugin
	@cd plugin && ../.venv-plugin/bin/python -m pytest $(ARGS)

check: setup docs  ## ruff, mypy, snakefmt, snakemake --lint, the site; shellcheck where it is installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m snakefmt --check workflow/Snakefile workflow/rules
	$(PY) -m snakemake --lint
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; fi

dist: setup  ## build sdist and, from it, wheel into dist/; train two stages with it in empty environments
	@rm -rf dist
	@$(PY) -m hatchling build -d dist -t sdist
	@$(PY) -m pip wheel -q --no-deps --no-build-isolation -w dist dist/*.tar.gz
	@TRAINRELAY_WHEEL=$$(echo dist/*.whl) $(PY) -m pytest -q -m "" -rs tests/workflow/test_installed.py

docs: mkdocs.yml  ## build the pages of docs/ as a site, strictly, in .site/html (.venv-docs)
	@scripts/setup.sh docs
	@rm -rf .site && mkdir -p .site/pages
	@cp -r --parents README.md CHANGELOG.md CONTRIBUTING.md LICENSE config.yaml site.example.yaml docs envs plugin/README.md workflow/schemas \
	  profiles/local/config.yaml workflow/demo/config.yaml tests/support/own_kind/own_kind.py .site/pages
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict
	@echo "docs: open $$PWD/.site/html/index.html"

reference: setup  ## write docs/reference.md and docs/files.md from the command line and the models
	@PYTHONPATH=tests $(PY) tests/support/reference.py

mutants: setup  ## plant defects one at a time; each must make a named test fail
	@$(PY) tests/mutants.py

faults-slurm: setup  ## those of them alone that need a real Slurm
	@$(PY) tests/faults/run.py --write --on-rig $(ARGS)

faults: setup  ## inject faults into real trainings, write docs/FAULTS.md; one: make faults ARGS=rank-raises
	@$(PY) tests/faults/run.py --write $(ARGS)

exact: setup  ## end trainings at 100 random places and compare them bit by bit, write docs/EXACT.md
	@$(PY) tests/exact/run.py --write $(ARGS)

bench: setup  ## measure what supervision costs against the bare command, write docs/BENCHMARKS.md
	@$(PY) tests/bench/supervision.py --write $(ARGS)

bench-slurm: setup  ## measure the gap between two trainings on a real Slurm, write docs/BENCHMARKS.md
	@scripts/setup.sh slurm-native
	@$(PY) tests/bench/slurm_gap.py --official-python .venv-slurm-native/bin/python --write $(ARGS)
	@$(PY) tests/bench/slurm_legs.py --write

bench-plan: setup  ## measure `snakemake -n` of 1,000 stages against a bare Snakefile, write docs/BENCHMARKS.md
	@$(PY) tests/bench/planning.py --write $(ARGS)

bench-hook: setup  ## measure what the hook costs inside the trainer, write docs/BENCHMARKS.md
	@$(PY) tests/bench/hook.py --write $(ARGS)

bench-logs: setup  ## count which faults in made logs are found, and time the analysis; ARGS=--write: docs/BENCHMARKS.md
	@$(PY) tests/bench/logs.py $(ARGS)

real-logs: setup  ## hold the analysis to real logs that no clone has: make real-logs FOLDER=/where/they/are
	@TRAINRELAY_REAL_LOGS="$(FOLDER)" $(PY) -m pytest -q tests/labelled/test_real_logs.py $(ARGS)

slurm-rig: setup  ## boot a real Slurm on this machine, as root; INSTALL=1 installs what it needs
	@PYTHONPATH=tests $(PY) -m slurm.rig up $(if $(INSTALL),--install) $(if $(LINK),--link)

slurm-rig-down: setup  ## end that Slurm and its jobs
	@PYTHONPATH=tests $(PY) -m slurm.rig down

slurm-rig-status: setup  ## which of that Slurm's daemons live
	@PYTHONPATH=tests $(PY) -m slurm.rig status || test $$? -eq 1

system-packages:  ## install the Debian packages that some tests use (chromium, Slurm); asks for sudo
	@scripts/system-packages.sh --install

clean:  ## remove .venv and caches; trainings (runs/, .snakemake/) stay
	rm -rf .venv .venv-slurm-native .venv-plugin .venv-docs .site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find tests workflow -type d -name __pycache__ -prune -exec rm -rf {} +
	@echo "clean: runs/ and .snakemake/ are kept, they hold trainings and how these were made"

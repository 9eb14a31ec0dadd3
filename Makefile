# kpv: a kernel patch series in, a verdict on a real kernel out.  `make help` lists the targets.

SERIES  ?= patches/iter-lock
KERNEL  ?= debian:6.12
PROFILE ?= kasan
MACHINE ?= 2node
ARGS    ?=

KPV := .venv/bin/kpv
WHAT := --kernel $(KERNEL) $(if $(BASE),--base $(BASE)) --profile $(PROFILE)

.DEFAULT_GOAL := help
.PHONY: help setup doctor validate shell cases test check unit bench

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo "  SERIES=$(SERIES)  KERNEL=$(KERNEL)  BASE=rev  PROFILE=$(PROFILE)  MACHINE=$(MACHINE)  CASES='names'  ARGS='more options of kpv'"

setup: ## system packages and the Python environment (done by every other target)
	@pipeline/setup.sh .venv

doctor: setup ## what this machine has, and what a run would use
	@$(KPV) doctor

validate: setup ## build base and SERIES, boot both, give a verdict: the main job
	@$(KPV) validate $(WHAT) --machine $(MACHINE) --series $(SERIES) $(ARGS)

shell: setup ## boot the kernel with SERIES and look by hand
	@$(KPV) shell $(WHAT) --machine $(MACHINE) --series $(SERIES) $(ARGS)

cases: setup ## the series of patches/: the sound must pass, the broken must fail, with seconds to detection
	@$(KPV) cases $(CASES) $(ARGS)

test: check ## everything: lint, types, layers, unit tests, a real kernel judged both ways
	@.venv/bin/python -m pytest $(ARGS)

unit: setup ## the tests that need no kernel
	@.venv/bin/python -m pytest -m 'not real' $(ARGS)

check: setup ## lint, format, types, layers, spelling: seconds
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --quiet --check
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-cache >/dev/null || .venv/bin/lint-imports --no-cache
	@.venv/bin/codespell

bench: setup ## ratios measured in one run: rebuild, boot, start-up, console parser
	@$(KPV) bench $(ARGS)

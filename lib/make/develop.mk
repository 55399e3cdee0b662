# What only a checkout has: a Python environment of its own, and targets for who works on the toolkit itself.

CALLED := make

# ---- The packages, in exactly the versions of the lock files; made again when these change
VENV := $(HERE).venv
OWN  := $(VENV)/bin/python
env: $(if $(PYTHON),,$(VENV)/run)
$(VENV)/run: $(HERE)requirements.txt
	@$(HERE)lib/environment.sh $(VENV) $< && touch $@
$(VENV)/dev: $(HERE)requirements-dev.txt $(VENV)/run
	@$(HERE)lib/environment.sh $(VENV) $< && touch $@

# ---- Targets
PYTEST = cd $(HERE) && $(call quote,$(PY)) -P -m pytest
.PHONY: test test-again mutants soak soak-short bench bench-short lint docs wheel lock settings

test: $(if $(PYTHON),,$(VENV)/dev) ## the toolkit's own tests
	@$(PYTEST) -n auto

N ?= 10
test-again: $(if $(PYTHON),,$(VENV)/dev) ## the tests N times in a row (N=20), half of them on a busy machine, one on one core
	@cd $(HERE) && lib/make/test-again.sh $(N) $(call quote,$(PY)) -P -m pytest -q -n auto

SEED    ?=
MODULES ?=
mutants: $(if $(PYTHON),,$(VENV)/dev) ## is each check of MODULES tested, when it is taken out? SAMPLE=30: so many of them, by SEED
	@cd $(HERE) && PYTHONPATH=tests $(call quote,$(PY)) -P -m mutants $(SAMPLE:%=--sample %) $(SEED:%=--seed %) $(MODULES)

soak: $(if $(PYTHON),,$(VENV)/dev) ## the long and cruel tests: hundreds of kills, fuzzing, the whole survey
	@$(PYTEST) -m soak

# Of each kind of moment a few.
SHORT = vos and test_no_power_cut and not (avail or download or free) or test_a_thousand_kills and \
        (vos-download or arc-mend or vos-shards-untar or arc-free or vos-verify or arc-sync) or short
soak-short: $(if $(PYTHON),,$(VENV)/dev) ## a few kills and power cuts; SEED=2 in the environment: others
	@export KILLS=1 CUTS=5 RUNS=1; $(PYTEST) -n auto -m soak -k '$(SHORT)'

bench bench-short: $(if $(PYTHON),,$(VENV)/dev)
	@mkdir -p bench && for part in transfer jobs listing asking unpack; do \
	  PYTHONPATH=$(HERE)lib $(call quote,$(PY)) $(HERE)tests/bench/bench_$$part.py bench $(if $(filter bench,$@),,--short); done
bench: ## speed, as ratios between two ways in one run; written to bench/
bench-short: ## the same with less data

lint: $(if $(PYTHON),,$(VENV)/dev) ## the toolkit's style
	@cd $(HERE) && $(call quote,$(PY)) -m ruff check && $(call quote,$(PY)) -m ruff format --check
	@cd $(HERE) && $(dir $(PY))shellcheck bin/* lib/*.sh lib/make/*.sh .ci/* containers/*.sh

# A page that has not changed would not be checked again, hence -E.
docs: $(if $(PYTHON),,$(VENV)/dev) ## the pages of docs/ as a site, in docs/_build; a warning or a dead link is an error
	@$(TOOL) sphinx -q -E -W --keep-going $(HERE)docs $(HERE)docs/_build

wheel: $(if $(PYTHON),,$(VENV)/dev) ## the package for pip and pipx, in dist/
	@cd $(HERE) && $(call quote,$(PY)) -m hatchling build -t wheel

LOCK = uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 \
       --custom-compile-command 'make lock'
lock: ## write the lock files anew from pyproject.toml (needs uv)
	@cd $(HERE) && $(LOCK) pyproject.toml -o requirements.txt
	@cd $(HERE) && $(LOCK) -c requirements.txt --group dev -o requirements-dev.txt

MANUAL = share/man/man1/retrieve.1
settings: env ## write settings.mk, the manual and the tables of docs/reference anew from the code
	@cd $(HERE) && $(TOOL) retrieve.settings >lib/make/.new && mv lib/make/.new lib/make/settings.mk
	@PYTHONPATH=$(HERE)lib $(call quote,$(PY)) $(HERE)docs/tables.py
	@cd $(HERE) && awk -f lib/make/manual.awk lib/make/settings.mk Makefile lib/make/mechanics.mk $(MANUAL) >$(MANUAL).new
	@mv $(HERE)$(MANUAL).new $(HERE)$(MANUAL)

# Bring ShapePipe results home from VOSpace. Make decides, Python acts.
#
#   tile_numbers.txt, container ── avail ────> STAMPS/<PSF>/available/TILE, or incomplete/TILE
#   available newer than downloaded? ────────> STAMPS/<PSF>/stale-download
#     stale-download ─────────── download ───> ARCHIVES/<product>_TILE.tgz, STAMPS/<PSF>/downloaded/TILE
#   downloaded newer than extracted? ────────> STAMPS/<PSF>/stale-untar
#     stale-untar ────────────── untar ──────> DEST/output/…, STAMPS/<PSF>/extracted/TILE
#   tile_numbers.txt, stamps ─── missing ────> STAMPS/<PSF>/missing/TILE, missing.txt
#
# The mtime of a stamp is the newest date among its archives at the source, so Make compares that clock with itself.

ifneq (,$(filter 3.% 4.0 4.0.% 4.1 4.1.%,$(MAKE_VERSION)))
  $(error GNU Make $(MAKE_VERSION) is too old, 4.2 is needed; on macOS: 'brew install make', then type 'gmake')
endif
THIS := $(realpath $(lastword $(MAKEFILE_LIST)))
HERE := $(dir $(THIS))
ifneq (1,$(words $(THIS)))
  $(error there is a space in '$(THIS)', which Make cannot handle; move the toolkit)
endif
# Make's own options, those of one letter.
OPTIONS := $(filter-out --%,$(firstword -$(MAKEFLAGS)))
ifneq (,$(findstring t,$(OPTIONS)))
  $(error 'make -t' would stamp what was never verified; leave out -t)
endif

# Built-in rules would look for 20 sources of each stamp: 3.8 s instead of 0.1 s at 12,621 tiles.
MAKEFLAGS += --no-builtin-rules --no-builtin-variables --warn-undefined-variables --no-print-directory
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:
# A recipe that fails must not leave half of its target.
.DELETE_ON_ERROR:

# What `avail` was last given holds for the targets after it; the command line and the environment outdo it.
STAMPS ?= stamps##       where the stamps are
-include $(STAMPS)/settings.mk

# Settings: make TARGET NAME=value. Make would keep a space before ## in the value.
PSF ?= mccd##            PSF model: psfex or mccd
INPUT_PATH ?= vos:cfis/cosmostat/kilbinger/results## container (vos:, vault:, arc:) or local directory
TILES ?= tile_numbers.txt## tile numbers, list files, directories of lists, or all
PRODUCTS ?=##            some of the PSF model's products, or file names with {tile}; empty: all products
PARTIAL ?= no##          yes: fetch what there is of incomplete tiles, too
ARCHIVES ?= archives##   where the archives are kept
DEST ?= .##              where output/ is unpacked
JOBS ?= 8##              transfers at once; make -jN sets it, too
CHECK ?= quick##         how FITS files are checked: quick, full or none
KEEP ?= yes##            no: delete a tile's archives once they are unpacked and checked
SAMPLE ?=##              5%: verify that share of the tiles; empty: all of them
TIMEOUT ?= 60##          seconds without a byte before a request is made again
RETRIES ?= 5##           how often
RATE ?=##                total bytes per second: 500k, 20M; empty: no limit
DRYRUN ?= no##           yes: say what would be done, and change nothing
FORCE ?= no##            yes: go on although it may not fit, or is beyond the limits of unpacking
EVERY ?= 10m##           pause between two rounds of watch: 30s, 10m, 1h
GOAL ?= sync##           what submit does on many machines: download, untar, verify or sync
SHARDS ?= 4##            in how many shards, each a job of its own
SHARD ?=##               3/16: download, untar or verify that share of the tiles; empty: that of a batch job's task
SBATCH ?=##              more options of sbatch: --partition=comp --time=2:00:00
CERTFILE ?=##            proxy certificate; empty: that of vos, ~/.ssl/cadcproxy.pem
INSECURE ?= no##         yes: do not verify the server's certificate
FORMAT ?= text##         json: the result for programs
V ?= $(if $(findstring s,$(OPTIONS)),quiet,0)## 1: a line for each tile; quiet, or make -s: no progress
PYTHON ?=##              a Python of yours with the packages of requirements.txt; empty: the toolkit's own

SETTINGS := PSF INPUT_PATH TILES PRODUCTS PARTIAL ARCHIVES DEST STAMPS JOBS CHECK KEEP SAMPLE TIMEOUT RETRIES \
            RATE DRYRUN FORCE EVERY GOAL SHARDS SHARD SBATCH CERTFILE INSECURE FORMAT V
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
ifneq (,$(filter-out $(SETTINGS) PYTHON,$(GIVEN)))
  $(error unknown setting '$(firstword $(filter-out $(SETTINGS) PYTHON,$(GIVEN)))'; 'make help' lists them)
endif
ifneq (1,$(words $(STAMPS)))
  $(error bad value STAMPS='$(STAMPS)'; give one directory, without a space in its name)
endif

# Sets: tiles by state, for the goals that collect them: to look for 12,621 takes a tenth of a second.
S          := $(STAMPS)/$(if $(findstring {tile},$(PRODUCTS)),files,$(firstword $(PSF)))
TILES_IN    = $(if $(filter download untar $(S)/%,$(MAKECMDGOALS)),$(patsubst $(S)/$1/%,%,$(wildcard $(S)/$1/*)))
AVAILABLE  := $(call TILES_IN,available)
INCOMPLETE := $(if $(filter yes,$(PARTIAL)),$(call TILES_IN,incomplete))
DOWNLOADED := $(call TILES_IN,downloaded)
# Several Makes may begin at once, on several machines: each has lists of its own, which are renamed when they are read.
SELF       := $(or $(file </proc/sys/kernel/hostname),$(shell hostname))-$(or $(notdir $(realpath /proc/self)),$(shell echo $$PPID))
STALE      := $(S)/.stale-$(SELF)

STEPS := avail download untar missing verify link submit watch doctor status manifest report map
.PHONY: $(STEPS) sync help env demo test soak bench bench-short lint lock FORCE

# ---- Targets
ifneq (,$(word 2,$(filter $(STEPS) sync,$(MAKECMDGOALS))))
# Several steps in one call: each in a Make of its own and in order, since the sets are those of when Make starts.
.NOTPARALLEL:
$(STEPS) sync: FORCE
	@$(MAKE) -f $(THIS) $@
else

help: ## these lines
	@$(foreach name,$(SETTINGS) PYTHON,$(name)=$(call quote,$($(name)))) awk -F '##' "$$HELP" $(THIS)

avail: env ## list the container and stamp each tile of TILES: what is complete over there?
	@$(RETRIEVE) avail $(WORDS)

# Where nothing was listed yet, once: with -n there still is no listing after it.
ifeq (,$(filter environment%,$(origin LISTED))$(wildcard $(S)/listing))
download: avail
	@LISTED=yes $(MAKE) -f $(THIS) download
else
download: $(AVAILABLE:%=$(S)/downloaded/%) $(INCOMPLETE:%=$(S)/downloaded/%) | $(STALE)-download env ## fetch what is newer there or damaged here
	@COLLECTED=$(call quote,$(STALE)-$@) $(RETRIEVE) download $(WORDS)
endif

untar: $(DOWNLOADED:%=$(S)/extracted/%) | $(STALE)-untar env ## unpack and check what is new
	@COLLECTED=$(call quote,$(STALE)-$@) $(RETRIEVE) untar $(WORDS)

missing: env ## write missing.txt and say why each tile of it is missing
	@$(RETRIEVE) missing $(WORDS)

verify: env ## read archives and unpacked files again; what is bad loses its stamp
	@$(RETRIEVE) verify $(WORDS)

link: env ## link the catalogue of each unpacked tile where ShapePipe's next step looks for it
	@$(RETRIEVE) link $(WORDS)

submit: env ## do GOAL on a cluster with Slurm: a job array of SHARDS, what comes before and what after it
	@$(RETRIEVE) submit $(WORDS)

status: env ## where does every tile stand? with TILES=182.308, all about that one
	@$(RETRIEVE) status $(WORDS)

manifest: env ## write manifest.ecsv: what is here, from where and of when
	@$(RETRIEVE) manifest $(WORDS)

sync: ## avail, download, untar, missing; a tile that fails does not stop the others
	@$(MAKE) -f $(THIS) avail
	@$(MAKE) -f $(THIS) -k download untar missing

report: env ## write report.html: a page of where every tile stands, with a map of the sky
	@$(RETRIEVE) report $(WORDS)

map: env ## write that map alone: map.png and map.pdf, for a slide
	@$(RETRIEVE) map $(WORDS)

watch: env ## sync again and again, a pause of EVERY between, until every tile of the list is unpacked
	@$(RETRIEVE) watch $(WORDS)

doctor: env ## is everything there that a run needs? a line for each, with the remedy
	@$(RETRIEVE) doctor $(WORDS)

# They call Make themselves. Named in the recipe, it would be run with -n, too.
watch doctor submit: export GNU_MAKE = $(MAKE)

endif

demo: env ## the whole flow on an embedded VOSpace, in demo/; needs no account
	@$(TOOL) vospace_demo.demo

# ---- Collecting: which tiles are behind? No process starts for a tile; a list is emptied before its first tile.
# Either for download or for untar: what untar begins with is what is here, be it up to date or not.
ifneq (,$(filter download,$(MAKECMDGOALS)))
$(AVAILABLE:%=$(S)/downloaded/%): $(S)/downloaded/%: $(S)/available/% | $(STALE)-download
	$(call COLLECT,download)
$(INCOMPLETE:%=$(S)/downloaded/%): $(S)/downloaded/%: $(S)/incomplete/% | $(STALE)-download
	$(call COLLECT,download)
else
$(DOWNLOADED:%=$(S)/extracted/%): $(S)/extracted/%: $(S)/downloaded/% | $(STALE)-untar
	$(call COLLECT,untar)
endif
$(STALE)-download $(STALE)-untar: FORCE
	@{ { [ -d $(@D) ] || mkdir -p $(@D); } && : >$@; } 2>/dev/null || { printf "cannot write in '%s'; give STAMPS a directory of yours\n" $(@D) >&2; exit 2; }
# With -n and -q nothing is to be written.
COLLECT = $(if $(ASKED),,$(file >>$(STALE)-$1,$*))
ASKED  := $(findstring n,$(OPTIONS))$(findstring q,$(OPTIONS))

# ---- Mechanics
define newline


endef
quote    = '$(subst ','\'',$(subst $(newline), ,$1))'
# With -jN, N transfers at once, unless JOBS is given.
PARALLEL = $(if $(filter command,$(firstword $(origin JOBS))),,$(patsubst -j%,JOBS=%,$(filter -j%,$(MAKEFLAGS))))
WORDS    = $(foreach name,$(SETTINGS),$(call quote,$(name)=$($(name)))) $(filter-out JOBS=,$(PARALLEL))
VENV    := $(HERE).venv
PY      := $(or $(PYTHON),$(VENV)/bin/python)
RETRIEVE = PYTHON=$(call quote,$(PY)) $(HERE)bin/retrieve
TOOL     = PYTHONPATH=$(HERE)lib $(call quote,$(PY)) -P -m

# The toolkit's own Python packages, in exactly the versions of the lock files; made again when these change.
env: $(if $(PYTHON),,$(VENV)/run)
$(VENV)/run: $(HERE)requirements.txt
	@$(HERE)lib/environment.sh $(VENV) $< && touch $@
$(VENV)/dev: $(HERE)requirements-dev.txt $(VENV)/run
	@$(HERE)lib/environment.sh $(VENV) $< && touch $@

test: $(if $(PYTHON),,$(VENV)/dev) ## the toolkit's own tests
	@cd $(HERE) && $(call quote,$(PY)) -P -m pytest -n auto

soak: $(if $(PYTHON),,$(VENV)/dev) ## the long and cruel ones: hundreds of kills, fuzzing, the whole survey
	@cd $(HERE) && $(call quote,$(PY)) -P -m pytest -m soak

bench bench-short: $(if $(PYTHON),,$(VENV)/dev) ## speed, as ratios between two ways in one run; written to bench/
	@mkdir -p bench && for part in transfer listing unpack; do \
	  PYTHONPATH=$(HERE)lib $(call quote,$(PY)) $(HERE)tests/bench/bench_$$part.py bench $(if $(filter bench,$@),,--short); done

lint: $(if $(PYTHON),,$(VENV)/dev) ## its style
	@cd $(HERE) && $(call quote,$(PY)) -m ruff check && $(call quote,$(PY)) -m ruff format --check
	@cd $(HERE) && $(dir $(PY))shellcheck bin/* lib/*.sh .ci/run

lock: ## write the lock files anew from pyproject.toml (needs uv)
	@cd $(HERE) && uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	  --python-version 3.11 --custom-compile-command 'make lock' pyproject.toml -o requirements.txt
	@cd $(HERE) && uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	  --python-version 3.11 --custom-compile-command 'make lock' -c requirements.txt --group dev -o requirements-dev.txt

define HELP
/^[a-z]+[: ].*##/  { target = $$1; sub(/[: ].*/, "", target); targets = targets sprintf("  %-10s%s\n", target, $$2) }
/^[A-Z_]+ \?=/  { name = $$1; sub(/ .*/, "", name); sub(/^ +/, "", $$2)
                  settings = settings sprintf("  %-10s  %s [%s]\n", name, $$2, ENVIRON[name]) }
END             { printf "make TARGET NAME=value ...\n\ntargets:\n%s\nsettings, and their present values:\n%s", targets, settings }
endef
export HELP

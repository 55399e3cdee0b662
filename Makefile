# Bring ShapePipe results home from VOSpace. Make decides, Python acts.
#
#   tile_numbers.txt, container ── avail ────> STAMPS/<PSF>/available/TILE, or incomplete/TILE
#   available newer than downloaded? ────────> a list of tiles
#     that list ──────────────── download ───> ARCHIVES/<product>_TILE.tgz, STAMPS/<PSF>/downloaded/TILE
#   downloaded newer than extracted? ────────> a list of tiles
#     that list ──────────────── untar ──────> DEST/output/…, STAMPS/<PSF>/extracted/TILE
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
include $(HERE)lib/make/preamble.mk

# ---- Settings: make TARGET NAME=value
# The environment counts as well, then what `avail` was last given, then the defaults: lib/make/settings.mk has them
# all with their meanings, and `make help-all` with their present values.
include $(HERE)lib/make/settings.mk
PYTHON ?=## a Python of yours with the packages of requirements.txt; empty: the toolkit's own## /

# Where the stamps of these products are.
PLACES = $(if $(findstring {exposure},$(PRODUCTS)),exposures) $(if $(findstring {tile},$(PRODUCTS)),files) $(PSF)
S     := $(STAMPS)/$(firstword $(PLACES))
VERBS := avail download untar missing verify link exposures submit watch doctor selftest status manifest report map
include $(HERE)lib/make/mechanics.mk

# ---- States: the tiles that have a stamp of each kind
AVAILABLE  := $(call TILES_FOR,download,available)
INCOMPLETE := $(if $(filter yes,$(PARTIAL)),$(call TILES_FOR,download,incomplete))
DOWNLOADED := $(call TILES_FOR,untar,downloaded)

# ---- Which tiles are behind? They go on the list that the verb begins with, and no process starts for any of them.
$(AVAILABLE:%=$(S)/downloaded/%): $(S)/downloaded/%: $(S)/available/% | $(LIST)
	$(file >>$(LIST),$*)
$(INCOMPLETE:%=$(S)/downloaded/%): $(S)/downloaded/%: $(S)/incomplete/% | $(LIST)
	$(file >>$(LIST),$*)
$(DOWNLOADED:%=$(S)/extracted/%): $(S)/extracted/%: $(S)/downloaded/% | $(LIST)
	$(file >>$(LIST),$*)

# ---- Targets
avail:    ## list the container and stamp each tile of TILES: what is complete there?
download: $(AVAILABLE:%=$(S)/downloaded/%) $(INCOMPLETE:%=$(S)/downloaded/%) | $(LIST) ## fetch what is newer or damaged
untar:    $(DOWNLOADED:%=$(S)/extracted/%) | $(LIST) ## unpack and check what is new
missing:  ## write missing.txt, and say why each tile of it is missing
verify:   ## read archives and unpacked files again; what is bad loses its stamp
link:     ## link the catalogue of each unpacked tile where ShapePipe looks for it
exposures: ## write exposure_numbers.txt: what the images of the tiles were stacked from
status:   ## where does every tile stand? with TILES=182.308, all about that one
report:   ## write report.html, where each tile stands on a sky map, and coverage.* for Aladin, DS9
map:      ## write that map alone, for a slide: map.png and map.pdf
manifest: ## write manifest.ecsv and MD5SUMS: what is here, from where and of when
watch:    ## sync every EVERY, until each tile of the list is unpacked
submit:   ## do GOAL on a cluster with Slurm, in SHARDS jobs
doctor:   ## is everything there that a run needs? if not, what is the remedy?
$(VERBS): env
	$(RUN)

sync: ## avail, download, untar, missing; a tile that fails does not stop the others
	@$(MAKE) -f $(THIS) avail
	@$(MAKE) -f $(THIS) -k $(if $(ASKED),download untar,$(if $(BUDGET),batches,download untar)) missing

demo: env ## the whole flow on an embedded VOSpace, in demo/; needs no account
	@$(TOOL) vospace_demo.demo $(CALLED)

help:     ## the targets, and the settings that matter most
help-all: ## all targets and all settings
help help-all:
	@$(HELP)

include $(HERE)lib/make/$(KIND).mk

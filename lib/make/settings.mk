# Written by 'make settings' from lib/retrieve/settings.py: a change belongs there.
# What `avail` was last given outdoes the other defaults.
STAMPS ?= stamps
-include $(STAMPS)/settings.mk
PSF ?= mccd## PSF model: psfex or mccd## psfex mccd
INPUT_PATH ?= vos:cfis/cosmostat/kilbinger/results## container (vos:, vault:, arc:) or a directory## /
TILES ?= tile_numbers.txt## tile numbers, list files, directories of lists, or all## all /
PRODUCTS ?=## some of the model's products, or file names with {tile} or {exposure}; empty: all## final_cat pipeline_flag logs setools_mask setools_stat setools_plot psfex_interp_exp mccd_fit_val_runner
DRYRUN ?= no## yes: say what would be done, and change nothing## yes no
PARTIAL ?= no## yes: fetch what there is of incomplete tiles, too## yes no
ARCHIVES ?= archives## where the archives are kept## /
DEST ?= .## where output/ is unpacked## /
STAMPS ?= stamps## where the stamps are## /
JOBS ?= auto## transfers at once, auto: as many as are worth it; make -jN sets it, too
CHECK ?= quick## how FITS files are checked: quick, full or none## quick full none
ONLY ?=## untar: some of the files, by patterns of their names or paths; empty: all
KEEP ?= yes## no: delete a tile's archives once they are unpacked and checked## yes no
BUDGET ?=## bytes that archives and output may take up: 500G, 2T; empty: no limit
AFTER ?=## command that takes each unpacked tile, which is then removed here
SAMPLE ?=## 5%: verify that share of the tiles; empty: all of them
AGAINST ?=## verify: compare ARCHIVES with this manifest, MD5SUMS or directory## /
TIMEOUT ?= 60## seconds without a byte before a request is made again
RETRIES ?= 5## how many times a failed request is made again
RATE ?=## total bytes per second: 500k, 20M; empty: no limit
HEADERS ?= no## yes: exposures reads the headers of images that are not here at the source## yes no
FORCE ?= no## yes: go on although it may not fit, or is more than unpacking or selftest allow## yes no
EVERY ?= 10m## pause between two rounds of watch: 30s, 10m, 1h
GOAL ?= sync## what submit does on many machines: download, untar, verify or sync## download untar verify sync
SHARDS ?= 4## in how many shards submit does it, each a job of its own
SHARD ?=## 3/16: download, untar or verify that share of the tiles; empty: that of a batch job's task
ON_EVENT ?=## command that is told, in JSON, of tiles unpacked, runs ended and needs of a person
SBATCH ?=## more options of sbatch: --partition=comp --time=2:00:00
CERTFILE ?=## proxy certificate; empty: that of vos, ~/.ssl/cadcproxy.pem## /
TOKEN ?=## file with a bearer token, where no certificate is given; empty: CANFAR_TOKEN's## /
INSECURE ?= no## yes: do not verify the server's certificate## yes no
FORMAT ?= text## json: the result for programs## text json
V ?= 0## 1: a line for each tile; quiet, or make -s: no progress## 0 1 quiet
SETTINGS := PSF INPUT_PATH TILES PRODUCTS DRYRUN PARTIAL ARCHIVES DEST STAMPS JOBS CHECK ONLY KEEP BUDGET AFTER SAMPLE AGAINST TIMEOUT RETRIES RATE HEADERS FORCE EVERY GOAL SHARDS SHARD ON_EVENT SBATCH CERTFILE TOKEN INSECURE FORMAT V
GONE := TILE LINK MAX_MEMBERS MAX_BYTES MAX_RATIO PAGE PROBE
GONE.TILE := the setting 'TILE' is gone; give TILES the number, such as TILES=182.308
GONE.LINK := the setting 'LINK' is gone; give PRODUCTS what is to be linked, such as PRODUCTS=pipeline_flag
GONE.MAX_MEMBERS := the setting 'MAX_MEMBERS' is gone; FORCE=yes lifts the limits of unpacking
GONE.MAX_BYTES := the setting 'MAX_BYTES' is gone; FORCE=yes lifts the limits of unpacking
GONE.MAX_RATIO := the setting 'MAX_RATIO' is gone; FORCE=yes lifts the limits of unpacking
GONE.PAGE := the setting 'PAGE' is gone; leave it out, the toolkit knows what is best
GONE.PROBE := the setting 'PROBE' is gone; leave it out, the toolkit knows what is best

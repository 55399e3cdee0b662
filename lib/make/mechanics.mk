# Mechanics: settings are checked and passed on, tiles collected, Python called.

# ---- What cannot be worked with
GIVEN   := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
# By the last of these bash-completion tells Make that it asks for the targets.
KNOWN   := $(SETTINGS) PYTHON __BASH_MAKE_COMPLETION__ \
           $(if $(filter test-again,$(MAKECMDGOALS)),N) $(if $(filter mutants,$(MAKECMDGOALS)),SEED MODULES)
UNKNOWN := $(firstword $(filter-out $(KNOWN),$(GIVEN)))
ifneq (,$(filter $(GONE),$(UNKNOWN)))
  $(error $(GONE.$(UNKNOWN)))
endif
ifneq (,$(UNKNOWN))
  $(error unknown setting '$(UNKNOWN)'; 'make help-all' lists them)
endif
ifneq (1,$(words $(STAMPS)))
  $(error bad value STAMPS='$(STAMPS)'; give one directory, without a space in its name)
endif
# In the environment TOKEN may be that of another program, and hold the token itself, which is for no command line.
ifneq (,$(if $(wildcard $(TOKEN)),,$(filter environment%,$(origin TOKEN))))
  TOKEN :=
endif
# Of the verbs, Python says which have one.
DRY     := $(filter yes,$(DRYRUN))
NOT_DRY := $(if $(DRY),$(filter-out $(VERBS) sync version help help-all,$(MAKECMDGOALS)))
ifneq (,$(NOT_DRY))
  $(error '$(firstword $(NOT_DRY))' has no dry run; leave out DRYRUN=yes)
endif

# ---- Passing on
define newline


endef
quote    = '$(subst ','\'',$(subst $(newline), ,$1))'
# With -jN, N transfers at once, unless JOBS is given.
PARALLEL = $(if $(filter command,$(firstword $(origin JOBS))),,$(patsubst -j%,JOBS=%,$(filter -j%,$(MAKEFLAGS))))
WORDS    = $(foreach name,$(SETTINGS),$(call quote,$(name)=$($(name)))) $(filter-out JOBS=,$(PARALLEL))
# The Python of the toolkit's own is that of a checkout, or of what pip installed.
KIND    := $(if $(wildcard $(HERE)lib/make/develop.mk),develop,installed)
PY       = $(or $(PYTHON),$(OWN))
RETRIEVE = PYTHON=$(call quote,$(PY)) $(HERE)bin/retrieve
TOOL     = PYTHONPATH=$(HERE)lib $(call quote,$(PY)) -P -m
# `watch`, `submit` and `doctor` call Make. If a recipe named it, that recipe would be run with -n, too.
export GNU_MAKE = $(MAKE)

# ---- One recipe for the verbs
# Several in one call: each in a Make of its own, since the states are those of when Make starts. The plus says that it
# is a Make, for -n and -j; it is in no recipe's text, where it would hold for a single verb, too.
SEVERAL  := $(word 2,$(filter $(VERBS) sync,$(MAKECMDGOALS)))
AGAIN     = +@$(MAKE) -f $(THIS) $@
RUN       = $(if $(SEVERAL),$(AGAIN),@$(if $(LIST),COLLECTED=$(call quote,$(LIST))) $(RETRIEVE) $@ $(WORDS))
.PHONY: $(VERBS) sync batches demo help help-all env version FORCE

# ---- The list of the tiles that are behind
# Only for a single verb that needs it: to look for 12,621 tiles takes a tenth of a second. With -n, -q or DRYRUN=yes
# nothing is to be written, and Python looks itself.
ASKED     := $(findstring n,$(OPTIONS))$(findstring q,$(OPTIONS))$(DRY)
COLLECTOR := $(if $(SEVERAL)$(ASKED),,$(filter download untar,$(MAKECMDGOALS)))
TILES_FOR  = $(if $(filter $1,$(COLLECTOR)),$(patsubst $(S)/$2/%,%,$(wildcard $(S)/$2/*)))
# Several Makes may begin at once, on several machines: each has a list of its own, which is renamed when it is read.
HOST       = $(or $(file </proc/sys/kernel/hostname),$(shell hostname))
PROCESS    = $(or $(notdir $(realpath /proc/self)),$(shell echo $$PPID))
LIST      := $(if $(COLLECTOR),$(S)/.stale-$(HOST)-$(PROCESS)-$(COLLECTOR))
# It is emptied before its first tile, and not when Make reads this, which it does for `make help` as well.
$(LIST): FORCE
	@{ { [ -d $(@D) ] || mkdir -p $(@D); } && : >$@; } 2>/dev/null || \
	  { printf "cannot write in '%s'; give STAMPS a directory of yours\n" $(@D) >&2; exit 2; }

# ---- With BUDGET: download and untar again and again, as long as that gets further
# Python makes the file MORE where another batch may do so. What failed in one batch is no reason not to begin the next.
batches: ## download and untar in turns, as far as BUDGET has room: a part of sync
	+@export MORE=$(call quote,$(S)/.more-$(HOST)-$(PROCESS)); status=0; \
	  while $(MAKE) -f $(THIS) -k download untar || status=$$?; rm "$$MORE" 2>/dev/null; do :; done; exit $$status

# ---- Help, with the targets that its screen has no room for
selftest: ## what does the service of INPUT_PATH do? a few requests that only read; the report holds no secrets
version:  ## which version this is; needs no Python
version:
	@sed -n 's/^VERSION = "\(.*\)"$$/retrieve \1/p' $(HERE)lib/retrieve/__init__.py

HELP_OF = $(HERE)lib/make/settings.mk $(THIS) $(if $(filter help-all,$@),$(addprefix $(HERE)lib/make/,mechanics.mk $(KIND).mk))
HELP    = $(foreach name,$(SETTINGS) PYTHON,$(name)=$(call quote,$($(name)))) \
          awk -v target=$@ -v make=$(call quote,$(CALLED)) -f $(HERE)lib/make/help.awk $(HELP_OF)

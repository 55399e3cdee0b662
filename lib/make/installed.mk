# What pip installs, in place of develop.mk: the Python that it was installed with has the packages.

CALLED := retrieve make

# This file is in PREFIX/lib/python3.N/site-packages, and that Python is PREFIX/bin/python3.N. It is elsewhere for
# pip's --user and for Debian's own, where it is on PATH. `retrieve make` knows it, and says so in PYTHON.
NAME := $(notdir $(realpath $(HERE)../..))
OWN  := $(or $(wildcard $(realpath $(HERE)../../../..)/bin/$(NAME)),$(NAME))

DEVELOP := test test-again mutants soak soak-short bench bench-short lint docs wheel lock settings
.PHONY: $(DEVELOP)
$(DEVELOP):
	@printf "'%s' needs a checkout of the toolkit, and this is an installed one: '%s'\n" $@ $(HERE) >&2; exit 2

"""The commands that came before the Makefile, with their options; they work in the current directory."""

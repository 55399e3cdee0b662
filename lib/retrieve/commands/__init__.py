"""The verbs: a module each, named as its make target and subcommand, with `main()`, and `foretell()` for DRYRUN=yes."""

"""The verbs: a module each, named as its make target and subcommand, with its `main()`."""

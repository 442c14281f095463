"""One module a verb. Each gives HELP, EXAMPLE, add_arguments(parser) and run(args) -> exit status, and imports
nothing heavy at module level, so that ``--help`` stays fast."""

"""`python -m reconciler_engine`: the command line."""

from reconciler_engine.cli import main

main()

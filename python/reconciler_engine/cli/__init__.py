"""The command line: `<command>.py` is a whole command, `<command>/` one that is longer.

A command's file imports at its top as much as its help needs; its functions import the rest, so that help is quick.
"""

from __future__ import annotations


def main() -> None:
    """Run the `reconciler-engine` command."""
    import sys

    from reconciler_engine.cli.standard_streams import hold_standard_streams

    hold_standard_streams()
    from reconciler_engine.cli.app import app
    from reconciler_engine.cli.exits import reported_errors
    from reconciler_engine.observe.logs import settle

    try:
        # Errors of output before a command begins, such as its help.
        with reported_errors():
            try:
                app()
            finally:
                # Here, where a reader that is gone and a disk that is full are told as errors are.
                sys.stdout.flush()
    finally:
        settle()

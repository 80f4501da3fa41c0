"""The command line: `<command>.py` is a whole command, `<command>/` one that is longer.

So that help is quick, the top of a command's file imports only modules that help needs. Functions import the others.
"""

from __future__ import annotations


def main() -> None:
    """Run the `reconciler-engine` command."""
    import os
    import sys

    from reconciler_engine.cli.standard_streams import hold_standard_streams
    from reconciler_engine.program_start import spare_time_and_memory

    hold_standard_streams()
    spare_time_and_memory()
    # Pydantic would read the metadata of every installed package for plugins, in each process.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from reconciler_engine.cli.app import app
    from reconciler_engine.cli.exits import reported_errors
    from reconciler_engine.observe.logs import settle

    try:
        # Errors of output before a command begins, such as its help.
        with reported_errors():
            try:
                app()
            finally:
                # Flushed inside the block, so that a full disk and a reader that has gone are reported, too.
                sys.stdout.flush()
    finally:
        settle()

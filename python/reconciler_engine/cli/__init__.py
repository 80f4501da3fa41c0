"""The command line. A command is a module `<command>.py`, or a package `<command>/` if it is long.

So that `--help` is quick, the top of a command's module imports only modules that help needs. Functions import others.
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
    # Otherwise pydantic would look for plugins in the metadata of every installed package, in each process.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from reconciler_engine.cli.app import app
    from reconciler_engine.cli.exits import reported_errors
    from reconciler_engine.observe.logs import settle

    try:
        # Also reports errors of output before a command begins, such as of its help.
        with reported_errors():
            try:
                app()
            finally:
                # Flushed inside the block, so that a full disk and a closed pipe are reported, too.
                sys.stdout.flush()
    finally:
        settle()

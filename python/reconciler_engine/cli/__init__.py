"""The command line: one file a command."""

from __future__ import annotations


def main() -> None:
    """Run the `reconciler-engine` command."""
    from reconciler_engine.cli.app import app

    app()

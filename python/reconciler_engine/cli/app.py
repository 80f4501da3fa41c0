"""The commands, in the order in which a newcomer needs them; a command's module is loaded when it is chosen."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.observe.words import printable

COMMANDS = (
    *("start", "status", "ready", "coverage", "scan", "reconcile", "backfill", "verify", "plan", "journal", "changes"),
    *("budget", "inspect", "gaps", "load", "simulate", "cron", "doctor", "evidence", "config", "completion"),
    "manual",
)
"""Names of the commands; each command is the attribute of that name in the module of that name."""


class Commands(click.Group):
    """Loads commands by name, and turns errors that a user can cause into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"reconciler_engine.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the arguments; refuse an unknown one with the names closest to it."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        with reported_errors():
            try:
                return super().invoke(ctx)
            except click.exceptions.NoArgsIsHelpError:
                raise
            except click.UsageError as error:
                # The message quotes arguments, and file names among them may hold control characters.
                message = error.format_message()
                if isinstance(error, click.MissingParameter):
                    # Click lists the choices on lines of their own.
                    message = " ".join(message.split())
                raise click.UsageError(printable(message), error.ctx) from None


@click.group(cls=Commands, context_settings={"show_default": True})
@click.version_option(package_name="reconciler-engine", message="%(package)s %(version)s")
def app() -> None:
    """Keep a Redis cache of OHLCV candles complete and right.

    \b
    Examples:
      reconciler-engine start --simulate
      reconciler-engine start --symbols BTC-USD,ETH-USD --redis-url redis://localhost:6379
      reconciler-engine scan --symbols BTC-USD --timeframes 1m,5m
      reconciler-engine backfill BTC-USD 1m 1h --from 2025-01-01 --max-candles 0 --dry-run
      reconciler-engine gaps BTC-USD_5m_2025.csv.gz
    """

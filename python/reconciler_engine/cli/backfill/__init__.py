"""`backfill`: loads history from the exchange into the cache."""

from __future__ import annotations

import click

from reconciler_engine.cli.options import BACKFILL_SETTINGS, Given, Span, prints, takes_long_range, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@takes_long_range
@click.option(
    "--verify",
    type=click.Choice(["all", "none"]),
    default="all",
    show_default=True,
    help="Candles in the cache to compare with the exchange's: all unverified ones, or none.",
)
@prints
@takes_settings(*BACKFILL_SETTINGS)
def backfill(*, names: tuple[str, ...], asked: Span, dry_run: bool, verify: str, output: Output, given: Given) -> None:
    """Fill long ranges from the exchange with few requests.

    \b
    Examples:
      reconciler-engine backfill BTC-USD 1m --from 2025-01-01 --to 2026-01-01 --max-candles 0 --dry-run
      reconciler-engine backfill BTC-USD ETH-USD 1m 1h --from 2025-01-01 --max-candles 0 --ttl 0

    The oldest slots are filled first. If the command is stopped or killed, the same command continues where it was.
    Without symbols or timeframes, those of the settings are used. Exit code 3: slots are still missing.
    """
    from reconciler_engine.cli.backfill.foreground import run_backfill

    run_backfill(names, asked, given, output, dry_run=dry_run, verify=verify == "all")

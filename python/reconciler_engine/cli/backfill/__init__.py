"""`backfill`: history into the cache."""

from __future__ import annotations

import click

from reconciler_engine.cli.options import BACKFILL_SETTINGS, Given, from_option, prints, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@click.argument(
    "names",
    nargs=-1,
    metavar="[SYMBOL... TIMEFRAME...]",
    help="Product ids or choices (top:20:USD), and timeframes.",
)
@from_option
@click.option("--to", metavar="TIME", help="First instant after the range. [default: now]")
@click.option("--dry-run", is_flag=True, help="Say how many requests it takes and how long; ask and change nothing.")
@click.option(
    "--verify",
    type=click.Choice(["all", "none"]),
    default="all",
    show_default=True,
    help="Candles that are there to compare with the exchange's: all that are not verified, or none.",
)
@prints
@takes_settings(*BACKFILL_SETTINGS)
def backfill(
    *,
    names: tuple[str, ...],
    from_: str | None,
    to: str | None,
    dry_run: bool,
    verify: str,
    output: Output,
    given: Given,
) -> None:
    """Fill long ranges from the exchange, oldest slot first, with the fewest requests the budget has to pay.

    \b
    Examples:
      reconciler-engine backfill BTC-USD 1m --from 2025-01-01 --to 2026-01-01 --max-candles 0 --dry-run
      reconciler-engine backfill BTC-USD ETH-USD 1m 1h --from 2025-01-01 --max-candles 0 --ttl 0

    Stopped or killed, the same command goes on where it was. Without symbols or timeframes those of the settings are
    taken. Exit code 3: slots are missing still.
    """
    from reconciler_engine.cli.backfill.foreground import run_backfill

    run_backfill(names, given, from_, to, output, dry_run=dry_run, verify=verify == "all")

"""`verify`: a range compared again, now."""

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
@prints
@takes_settings(*BACKFILL_SETTINGS)
def verify(
    *,
    names: tuple[str, ...],
    from_: str | None,
    to: str | None,
    dry_run: bool,
    output: Output,
    given: Given,
) -> None:
    """Compare every settled candle of a range with the exchange's again, verified ones too, and fill missing ones.

    \b
    Examples:
      reconciler-engine verify BTC-USD 1m --from 2025-01-01 --to 2025-02-01 --max-candles 0 --dry-run
      reconciler-engine verify BTC-USD ETH-USD 1m 1h --from 2025-01-01 --max-candles 0 --ttl 0

    A candle that differs from one verified before gives way to a second answer, for which the command waits four
    minutes. Stopped or killed before that, the same command goes on where it was. Exit code 3: candles differ and were
    not repaired, or slots are missing still.
    """
    from reconciler_engine.cli.backfill.foreground import run_backfill

    run_backfill(names, given, from_, to, output, dry_run=dry_run, verify=True, again=True)

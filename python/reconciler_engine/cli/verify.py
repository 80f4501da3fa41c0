"""`verify`: compares a range again, now."""

from __future__ import annotations

import click

from reconciler_engine.cli.options import BACKFILL_SETTINGS, Given, Span, prints, takes_long_range, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@takes_long_range
@prints
@takes_settings(*BACKFILL_SETTINGS)
def verify(*, names: tuple[str, ...], asked: Span, dry_run: bool, output: Output, given: Given) -> None:
    """Compare a range with the exchange again; fill missing candles.

    \b
    Examples:
      reconciler-engine verify BTC-USD 1m --from 2025-01-01 --to 2025-02-01 --max-candles 0 --dry-run
      reconciler-engine verify BTC-USD ETH-USD 1m 1h --from 2025-01-01 --max-candles 0 --ttl 0

    Every settled candle is compared, also verified ones. If a candle was verified before and differs now, it is
    replaced once a second answer agrees, for which the command waits four minutes. If the command is stopped or killed
    before that, the same command continues where it was. Exit code 3: candles differ and were not repaired, or slots
    are still missing.
    """
    from reconciler_engine.cli.backfill.foreground import run_backfill

    run_backfill(names, asked, given, output, dry_run=dry_run, verify=True, again=True)

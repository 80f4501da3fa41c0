"""`scan`: lists missing slots, without requests or changes."""

from __future__ import annotations

import click

from reconciler_engine.cli.options import PASS_SETTINGS, Given, Span, prints, takes_range, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@takes_range
@prints
@takes_settings(*PASS_SETTINGS)
def scan(*, asked: Span, output: Output, given: Given) -> None:
    """Report missing slots and unverified candles.

    \b
    Examples:
      reconciler-engine scan --symbols BTC-USD,ETH-USD --timeframes 1m,5m
      reconciler-engine scan --symbols BTC-USD --from 2026-01-01 --to 2026-01-02 --json

    The exchange is not asked, and no candle is changed. Exit code 3: slots are missing, or could not be examined.
    """
    from reconciler_engine.cli.one_pass import run_one_pass

    run_one_pass("scan", given, asked, output, repair=False)

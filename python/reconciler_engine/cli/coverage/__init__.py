"""`coverage`: draws the states of all slots, and plans the requests that would fill them."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler_engine.cli.options import PASS_SETTINGS, Given, Span, prints, takes_range, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@takes_range
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Write the picture as SVG, too.")
@click.option("--watch", is_flag=True, help="Redraw every 2 s on the whole terminal; q or Ctrl-C ends.")
@prints
@takes_settings(*PASS_SETTINGS)
def coverage(*, asked: Span, svg: Path | None, watch: bool, output: Output, given: Given) -> None:
    """Draw the states of all series over time; change nothing.

    \b
    Examples:
      reconciler-engine coverage --symbols BTC-USD,ETH-USD --timeframes 1m,5m
      reconciler-engine coverage --symbols BTC-USD --from 2026-01-01 --to 2026-02-01 --max-candles 0 --svg btc.svg

    Each sign stands for a bucket of time, and shows the worst state in it: missing, suspect, unknown, halted, empty,
    unlisted, unverified, present. Below the picture is the plan of a pass: its requests and their duration. Without
    a range, the full window is drawn. The exchange is not asked. Exit code 3: slots are missing or suspect, or could
    not be examined.
    """
    from reconciler_engine.cli.coverage.survey_report import show_coverage, watch_coverage

    if watch:
        watch_coverage(given, asked, output)
        return
    show_coverage(given, asked, svg, output)

"""`reconcile`: runs one pass now."""

from __future__ import annotations

import click

from reconciler_engine.cli.options import PASS_SETTINGS, Given, Span, prints, takes_range, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@takes_range
@click.option("--dry-run", is_flag=True, help="Print the requests and how long they take; ask and change nothing.")
@click.option(
    "--verify",
    type=click.Choice(["due", "all", "none"]),
    default="due",
    show_default=True,
    help="Candles in the cache to compare with the exchange's: those due before the next run, within verify_share; "
    "all unverified ones, whatever verify_share is; or none.",
)
@prints
@takes_settings(*PASS_SETTINGS)
def reconcile(*, asked: Span, dry_run: bool, verify: str, output: Output, given: Given) -> None:
    """Find missing candles and fill them from the exchange.

    \b
    Examples:
      reconciler-engine reconcile --symbols BTC-USD,ETH-USD
      reconciler-engine reconcile --symbols BTC-USD,ETH-USD --dry-run
      reconciler-engine reconcile --symbols BTC-USD --timeframes 5m --from 2025-09-16 --to 2025-11-01 --max-candles 0

    One pass is run, within the request budget. Without a range, the full window is examined, and the last line says
    until when `ready` can say yes. Exit code 3: slots are still missing, wait for another answer, or could not be
    examined.
    """
    if dry_run:
        from reconciler_engine.cli.coverage.survey_report import show_dry_run

        show_dry_run(given, asked, output, verify)
        return
    from reconciler_engine.cli.one_pass import run_one_pass

    run_one_pass("reconcile", given, asked, output, repair=True, verify=verify)

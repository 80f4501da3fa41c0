"""`doctor`: a check of everything that the engine needs, each with its cure."""

from __future__ import annotations

import click

from reconciler_engine.cli.options import START_SETTINGS, Given, prints, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@prints
@click.option("--send-test-alert", is_flag=True, help="Also post a test alert to the webhook.")
@takes_settings(*START_SETTINGS)
def doctor(*, send_test_alert: bool, output: Output, given: Given) -> None:
    """Check settings, API key, exchange, Redis and disk; name the cure of each fault.

    \b
    Examples:
      reconciler-engine doctor --symbols BTC-USD,ETH-USD
      reconciler-engine doctor --config reconciler.toml --json

    Changes nothing but the request budget, of which it takes two to seven permits. Exit code 0 unless a check fails;
    then 69 or 78 if all failed ones come to that code (exchange or Redis unavailable, configuration), else 1.
    """
    from reconciler_engine.cli.doctor.examination import run_doctor

    run_doctor(given, output, sends_test_alert=send_test_alert)

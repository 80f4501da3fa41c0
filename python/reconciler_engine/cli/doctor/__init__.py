"""`doctor`: checks everything that the engine needs, and names the cure of each fault."""

from __future__ import annotations

import click

from reconciler_engine.cli.options import START_SETTINGS, Given, prints, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@prints
@click.option("--send-test-alert", is_flag=True, help="Also post a test alert to the webhook.")
@takes_settings(*START_SETTINGS)
def doctor(*, send_test_alert: bool, output: Output, given: Given) -> None:
    """Check all that the engine needs; name the cure of each fault.

    \b
    Examples:
      reconciler-engine doctor --symbols BTC-USD,ETH-USD
      reconciler-engine doctor --config reconciler.toml --json

    Settings, API key, exchange, Redis and disk are checked. Changes nothing, except that two to seven permits of the
    request budget are used. Exit code 0: no check failed; 69: the exchange or Redis is unavailable; 78: the
    configuration is not in order; 1: anything else, or both of these.
    """
    from reconciler_engine.cli.doctor.examination import run_doctor

    run_doctor(given, output, sends_test_alert=send_test_alert)

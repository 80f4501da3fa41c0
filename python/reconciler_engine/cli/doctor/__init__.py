"""`doctor`: one check after another of what the engine needs, each with what to do about it."""

from __future__ import annotations

import click

from reconciler_engine.cli.options import START_SETTINGS, Given, prints, takes_settings
from reconciler_engine.cli.output import Output


@click.command()
@prints
@takes_settings(*START_SETTINGS)
def doctor(*, output: Output, given: Given) -> None:
    """Check settings, API key, exchange, Redis and disk; say what to do about each.

    \b
    Examples:
      reconciler-engine doctor --symbols BTC-USD,ETH-USD
      reconciler-engine doctor --config reconciler.toml --json

    Changes nothing but the request budget, of which it takes two to seven permits. Exit code 0 unless a check fails;
    then 69 or 78 where that is what all failed ones come to (exchange or Redis unavailable, configuration), else 1.
    """
    from reconciler_engine.cli.doctor.examination import run_doctor

    run_doctor(given, output)

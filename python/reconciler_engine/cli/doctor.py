"""`doctor`: one check after another of what the engine needs, each with what to do about it."""

from __future__ import annotations

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import START_SETTINGS, Json, takes_settings


@takes_settings(*START_SETTINGS)
def doctor(*, json: Json = False, flags: dict[str, str], config: str | None) -> None:
    """Check settings, API key, exchange, Redis and disk; say what to do about each.

    \b
    Examples:
      reconciler-engine doctor --symbols BTC-USD,ETH-USD
      reconciler-engine doctor --config reconciler.toml --json

    Changes nothing but the request budget, of which it takes two to seven permits. Exit code 0 unless a check fails;
    then 69 or 78 where that is what all failed ones come to (exchange or Redis unavailable, configuration), else 1.
    """
    from reconciler_engine.cli.doctor_run import run_doctor

    with reported_errors():
        run_doctor(flags, config, as_json=json)

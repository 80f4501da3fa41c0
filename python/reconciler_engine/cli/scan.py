"""`scan`: say what is missing, ask nothing, change nothing."""

from __future__ import annotations

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import PASS_SETTINGS, FromTime, Json, ToTime, takes_settings


@takes_settings(*PASS_SETTINGS)
def scan(
    *,
    from_: FromTime = None,
    to: ToTime = None,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Report what the cache lacks; ask the exchange nothing and change no candle.

    \b
    Examples:
      reconciler-engine scan --symbols BTC-USD,ETH-USD --timeframes 1m,5m
      reconciler-engine scan --symbols BTC-USD --from 2026-01-01 --to 2026-01-02 --json

    Exit code 3: slots are missing, or could not be examined.
    """
    from reconciler_engine.cli.one_pass import run_one_pass

    with reported_errors():
        run_one_pass("scan", flags, config, from_, to, repair=False, as_json=json)

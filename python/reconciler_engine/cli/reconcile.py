"""`reconcile`: one pass, now."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import PASS_SETTINGS, FromTime, Json, ToTime, takes_settings


@takes_settings(*PASS_SETTINGS)
def reconcile(
    *,
    from_: FromTime = None,
    to: ToTime = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be asked and how long it takes; ask and change nothing.")
    ] = False,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Find what is missing and fill it from the exchange: one pass, within the request budget.

    \b
    Examples:
      reconciler-engine reconcile --symbols BTC-USD,ETH-USD
      reconciler-engine reconcile --symbols BTC-USD,ETH-USD --dry-run
      reconciler-engine reconcile --symbols BTC-USD --timeframes 5m --from 2025-09-16 --to 2025-11-01 --max-candles 0

    Without a range the full window is examined. Exit code 3: slots are missing still, or could not be examined.
    """
    with reported_errors():
        if dry_run:
            from reconciler_engine.cli.coverage_answer import show_dry_run

            show_dry_run(flags, config, from_, to, as_json=json)
            return
        from reconciler_engine.cli.one_pass import run_one_pass

        run_one_pass("reconcile", flags, config, from_, to, repair=True, as_json=json)

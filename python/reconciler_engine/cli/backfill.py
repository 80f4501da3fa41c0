"""`backfill`: history into the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import BACKFILL_SETTINGS, FromTime, Json, takes_settings


@takes_settings(*BACKFILL_SETTINGS)
def backfill(
    series: Annotated[
        list[str] | None,
        typer.Argument(metavar="SYMBOL... TIMEFRAME...", help="Product ids or choices (top:20:USD), and timeframes."),
    ] = None,
    *,
    from_: FromTime = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="First instant after the range. [default: now]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many requests it takes and how long; ask and change nothing.")
    ] = False,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Fill long ranges from the exchange, oldest slot first, with the fewest requests the budget has to pay.

    \b
    Examples:
      reconciler-engine backfill BTC-USD 1m --from 2025-01-01 --to 2026-01-01 --max-candles 0 --dry-run
      reconciler-engine backfill BTC-USD ETH-USD 1m 1h --from 2025-01-01 --max-candles 0 --ttl 0

    Stopped or killed, the same command goes on where it was. Without symbols or timeframes those of the settings are
    taken. Exit code 3: slots are missing still.
    """
    from reconciler_engine.cli.history import run_backfill

    with reported_errors():
        run_backfill(series or [], flags, config, from_, to, dry_run=dry_run, as_json=json)

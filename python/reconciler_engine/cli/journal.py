"""`journal`: what was there and was changed."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.numbers import whole_between
from reconciler_engine.cli.options import JOURNAL_SETTINGS, Json, takes_settings


@takes_settings(*JOURNAL_SETTINGS)
def journal(
    symbol: Annotated[str | None, typer.Argument(metavar="SYMBOL", help="Product id, such as BTC-USD.")] = None,
    timeframe: Annotated[str | None, typer.Argument(metavar="TIMEFRAME", help="Timeframe, such as 5m.")] = None,
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Changes from this ISO 8601 time on, UTC by default.")
    ] = None,
    last: Annotated[
        int, typer.Option("--last", metavar="N", parser=whole_between(1, 10_000), help="The newest N changes.")
    ] = 100,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Show what the engine changed that was there: candles removed or replaced, evidence set by hand; newest last.

    \b
    Examples:
      reconciler-engine journal
      reconciler-engine journal BTC-USD 1m --since 2026-01-31T13:00 --json

    Without a series the configured ones are shown, or all those that passes looked at. Candles that were only added
    are not journalled. A series keeps its newest 500 changes, for 30 days after the last one.
    """
    from reconciler_engine.cli.journal_answer import show_journal

    with reported_errors():
        show_journal(symbol, timeframe, flags, config, since, last=last, as_json=json)

"""`load`: candle files into the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.gaps import Files, Symbol, TimeframeName
from reconciler_engine.cli.options import LOAD_SETTINGS, Json, takes_settings


@takes_settings(*LOAD_SETTINGS)
def load(
    files: Files,
    *,
    symbol: Symbol = None,
    timeframe: TimeframeName = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out instead of refusing.")] = False,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Load candle files into the cache; a candle that is there already stays.

    \b
    Examples:
      reconciler-engine load BTC-USD_5m_2025.csv.gz --max-candles 0
      reconciler-engine load --symbol BTC-USD --timeframe 1m dump.csv --redis-url redis://localhost:6379

    Every file is read and checked before the first candle is written.
    """
    from reconciler_engine.cli.file_load import load_files

    with reported_errors():
        load_files(files, symbol, timeframe, flags, config, skip_bad=skip_bad, as_json=json)

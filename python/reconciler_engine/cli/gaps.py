"""`gaps`: what candle files lack, without any server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import Json

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV files, plain or gzipped.")]
Symbol = Annotated[
    str | None, typer.Option("--symbol", metavar="ID", help="Product id, where file names do not say it.")
]
TimeframeName = Annotated[
    str | None, typer.Option("--timeframe", metavar="NAME", help="Timeframe, where file names do not say it.")
]


def gaps(
    files: Files,
    *,
    symbol: Symbol = None,
    timeframe: TimeframeName = None,
    every: Annotated[bool, typer.Option("--list", help="Print every gap, not only the longest.")] = False,
    json: Json = False,
) -> None:
    """List the gaps in candle files (columns start_ms,open,high,low,close,volume).

    \b
    Examples:
      reconciler-engine gaps BTC-USD_5m_2025.csv.gz
      reconciler-engine gaps --symbol BTC-USD --timeframe 1m dump.csv --list
      reconciler-engine gaps *.csv.gz --json

    The grid runs from a file's first to its last candle.
    """
    from reconciler_engine.cli.file_gaps import report_files

    with reported_errors():
        report_files(files, symbol, timeframe, every=every, as_json=json)

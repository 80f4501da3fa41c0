"""`ready`: may the last bars of a series be trusted?"""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import Json, Symbol, TimeframeName, takes_settings


def _print_script(wanted: bool) -> None:
    if wanted:
        from reconciler_engine.store.ready_script import READY_TEXT

        print(READY_TEXT, end="")
        raise typer.Exit


@takes_settings("redis_url", "data_dir", "user_id", "exchange_id", "grace_ms")
def ready(
    symbol: Symbol,
    timeframe: TimeframeName,
    *,
    bars: Annotated[str, typer.Option("--bars", metavar="N", help="How many of the newest closed bars.")] = "100",
    script: Annotated[  # noqa: ARG001 (its callback has answered already)
        bool,
        typer.Option(
            "--script",
            callback=_print_script,
            is_eager=True,
            help="Print the Lua script that gives the same answer to any language, and do nothing else.",
        ),
    ] = False,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Say whether each of the last closed bars of a series is there, undoubted, or proved not to exist.

    \b
    Examples:
      reconciler-engine ready BTC-USD 5m --bars 100
      reconciler-engine ready BTC-USD 5m --bars 100 --json
      reconciler-engine ready --script > ready.lua

    The cache is asked at this moment; the exchange is not. Exit code 0: ready; 3: not ready, and why.
    """
    from reconciler_engine.cli.ready_answer import show_readiness

    with reported_errors():
        show_readiness(symbol, timeframe, bars, flags, config, as_json=json)

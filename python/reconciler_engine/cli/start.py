"""`start`: the whole engine, until it is told to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import START_SETTINGS, Json, takes_settings


@takes_settings(*START_SETTINGS)
def start(
    *,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Invent an exchange and a feeder that loses candles; needs nothing else."),
    ] = False,
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Keep the cache complete, until told to stop.

    \b
    Examples:
      reconciler-engine start --simulate
      reconciler-engine start --symbols BTC-USD,ETH-USD
      reconciler-engine start --config reconciler.toml --redis-url redis://localhost:6379

    SIGTERM or Ctrl-C: what is in hand is finished first. A second Ctrl-C ends at once.
    """
    from reconciler_engine.cli.start_tree import run_start

    with reported_errors():
        run_start(flags, config, simulate=simulate, log_level=log_level, as_json=json)

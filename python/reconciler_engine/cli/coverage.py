"""`coverage`: a picture of what is there, what is not, and what that would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import PASS_SETTINGS, FromTime, Json, ToTime, takes_settings


@takes_settings(*PASS_SETTINGS)
def coverage(
    *,
    from_: FromTime = None,
    to: ToTime = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the picture as SVG, too.")] = None,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Draw every series over time, a sign for each bucket, and say what a pass would ask for; ask and change nothing.

    \b
    Examples:
      reconciler-engine coverage --symbols BTC-USD,ETH-USD --timeframes 1m,5m
      reconciler-engine coverage --symbols BTC-USD --from 2026-01-01 --to 2026-02-01 --max-candles 0 --svg btc.svg

    A bucket shows its worst state: missing, suspect, unknown, halted, empty, unlisted, present. Without a range the
    full window is drawn. Exit code 3: slots are missing or suspect, or could not be examined.
    """
    from reconciler_engine.cli.coverage_answer import show_coverage

    with reported_errors():
        show_coverage(flags, config, from_, to, svg, as_json=json)

"""`evidence`: what is known about slots without a candle, and how to change that by hand."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import (
    EVIDENCE_SETTINGS,
    FromTime,
    Json,
    Symbol,
    TimeframeName,
    ToTime,
    takes_settings,
)


class _ListsByDefault(TyperGroup):
    """`evidence BTC-USD 1m` is `evidence list BTC-USD 1m`: no product id looks like a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ListsByDefault,
    help="""Show or change what is known about slots without a candle.

    \b
    Examples:
      reconciler-engine evidence BTC-USD 1m
      reconciler-engine evidence mark BTC-USD 1m --state halted --from 2026-01-31T13:00 --to 2026-01-31T15:00
      reconciler-engine evidence forget BTC-USD 1m --from 2026-01-31 --to 2026-02-01
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
@takes_settings(*EVIDENCE_SETTINGS)
def list_(
    symbol: Symbol,
    timeframe: TimeframeName,
    *,
    from_: FromTime = None,
    to: ToTime = None,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """List what is known of a series: state and reason of each stretch, its proofs, and when it is looked at again.

    \b
    Examples:
      reconciler-engine evidence BTC-USD 1m
      reconciler-engine evidence BTC-USD 1m --from 2026-01-31 --to 2026-02-01 --json

    Slots that hold a candle, and those nothing is known of, are not listed. `list` may be left out.
    """
    from reconciler_engine.cli.evidence_answer import show_evidence

    with reported_errors():
        show_evidence(symbol, timeframe, flags, config, from_, to, as_json=json)


@app.command("mark")
@takes_settings(*EVIDENCE_SETTINGS)
def mark(
    symbol: Symbol,
    timeframe: TimeframeName,
    *,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="empty, halted or unlisted.")] = None,
    from_: FromTime = None,
    to: ToTime = None,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Say that a range of slots has no candle to be fetched: they count as complete and are never asked for.

    \b
    Examples:
      reconciler-engine evidence mark BTC-USD 1m --state halted --from 2026-01-31T13:00 --to 2026-01-31T15:00

    Slots that hold a candle are left out; a candle that comes later wins. Journalled; `evidence forget` takes it back.
    """
    from reconciler_engine.cli.evidence_answer import mark_evidence

    with reported_errors():
        mark_evidence(symbol, timeframe, flags, config, state, from_, to, as_json=json)


@app.command("forget")
@takes_settings(*EVIDENCE_SETTINGS)
def forget(
    symbol: Symbol,
    timeframe: TimeframeName,
    *,
    from_: FromTime = None,
    to: ToTime = None,
    json: Json = False,
    flags: dict[str, str],
    config: str | None,
) -> None:
    """Forget what is known of a range of slots: those without a candle are asked for again. Journalled.

    \b
    Examples:
      reconciler-engine evidence forget BTC-USD 1m --from 2026-01-31 --to 2026-02-01
    """
    from reconciler_engine.cli.evidence_answer import forget_evidence

    with reported_errors():
        forget_evidence(symbol, timeframe, flags, config, from_, to, as_json=json)

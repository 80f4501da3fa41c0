"""`ready`: may the last bars of a series be trusted?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from reconciler_engine.cli.arguments import parse_series
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.options import Given, prints, takes_series, takes_settings, whole
from reconciler_engine.cli.output import Output
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import iso

if TYPE_CHECKING:
    from reconciler_engine.config import ReconciliationConfig
    from reconciler_engine.store.ready_question import Readiness


def _print_script(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from reconciler_engine.store.ready_script import READY_TEXT

        print(READY_TEXT, end="")
        ctx.exit()


@click.command()
@takes_series
@click.option("--bars", metavar="N", default="100", help="How many of the newest closed bars.")
@click.option(
    "--script",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_script,
    help="Print the Lua script that gives the same answer to any language, and do nothing else.",
)
@prints
@takes_settings("redis_url", "data_dir", "layout", "user_id", "exchange_id", "grace_ms")
def ready(*, symbol: str, timeframe: str, bars: str, output: Output, given: Given) -> None:
    """Say whether each of the last closed bars of a series is there, undoubted, or proved not to exist.

    \b
    Examples:
      reconciler-engine ready BTC-USD 5m --bars 100
      reconciler-engine ready BTC-USD 5m --bars 100 --json
      reconciler-engine ready --script > ready.lua

    The cache is asked at this moment; the exchange is not. Exit code 0: ready; 3: not ready, and why.
    """
    import trio

    from reconciler_engine.cli.setting_sources import load_config

    faults: list[str] = []
    series = parse_series(symbol, timeframe, faults)
    count = _bars(bars, faults)
    config = load_config(*given, known_faults=faults, windows=())
    if series is None:
        raise ConfigError(faults)
    readiness = trio.run(_ask, config, series, count, output)
    if output.as_json:
        output.print_json(as_object(series, count, readiness))
    else:
        output.print_line(describe(series, count, readiness))
    if not readiness.is_ready:
        leave(UNRESOLVED)


async def _ask(config: ReconciliationConfig, series: Series, bars: int, output: Output) -> Readiness:
    from reconciler_engine.cli.session import open_session
    from reconciler_engine.engine.ready import examine

    async with open_session(config, output, "ready") as session:
        return await examine(
            session.parts.client,
            series.symbol,
            series.timeframe,
            bars,
            user_id=config.user_id,
            exchange_id=config.exchange_id,
            layout=config.layout,
            grace_ms=config.grace_ms,
        )


def _bars(text: str, faults: list[str]) -> int:
    from reconciler_engine.store.ready_question import MAX_BARS

    bars = whole(text) or 0
    if not 1 <= bars <= MAX_BARS:
        faults.append(f"--bars {text[:60]!r} is not allowed; allowed: a whole number from 1 to {MAX_BARS}")
    return bars


def describe(series: Series, bars: int, readiness: Readiness) -> str:
    """Return the answer in a sentence."""
    reach = f"the last {bars} closed bars, {iso(readiness.window.start)} to {iso(readiness.window.stop)}"
    confirmed = f"{readiness.confirmed} proved not to exist" if readiness.confirmed else ""
    if readiness.is_ready:
        return f"{series} is ready: {reach}{f', {confirmed}' if confirmed else ''}"
    doubts = [
        f"{_slots(gaps)} {what}, the first {iso(gaps[0].start)}{_reason(readiness, gaps[0].start)}"
        for what, gaps in (("missing", readiness.missing), ("suspect", readiness.suspect))
        if gaps
    ]
    return f"{series} is not ready: of {reach}: {'; '.join([*doubts, *filter(None, [confirmed])])}"


def _reason(readiness: Readiness, open_time: int) -> str:
    first = readiness.first_doubt
    return f" ({first.reason})" if first is not None and first.reason and first.open_time == open_time else ""


def as_object(series: Series, bars: int, readiness: Readiness) -> dict[str, Any]:
    """Return what a program is told; instants in ms UTC, `stop` is the first one after the bars."""
    first = readiness.first_doubt
    return {
        "symbol": series.symbol,
        "timeframe": series.timeframe.value,
        "ready": readiness.is_ready,
        "bars": bars,
        "start": readiness.window.start,
        "stop": readiness.window.stop,
        "missing": _slots(readiness.missing),
        "first_missing": readiness.missing[0].start if readiness.missing else None,
        "suspect": _slots(readiness.suspect),
        "first_suspect": readiness.suspect[0].start if readiness.suspect else None,
        "first_reason": None if first is None else first.reason,
        "confirmed": readiness.confirmed,
    }


def _slots(gaps: Sequence[Gap]) -> int:
    return sum(gap.count for gap in gaps)

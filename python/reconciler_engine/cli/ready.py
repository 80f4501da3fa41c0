"""`ready`: tells whether the last bars of a series, or of all series, can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reconciler_engine.cli.arguments import parse_series
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.options import CACHE_SETTINGS, Given, prints, prints_script, takes_settings, whole
from reconciler_engine.cli.output import Output
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import iso

if TYPE_CHECKING:
    from reconciler_engine.config import ReconciliationConfig
    from reconciler_engine.store.product_list import ProductList
    from reconciler_engine.store.ready_question import Readiness, ReadyOptions, SlotCount


_BARS = 100
"""Default number of bars."""


def _script() -> str:
    from reconciler_engine.store.ready_question import READY_TEXT

    return READY_TEXT


@click.command()
@click.argument("symbol", required=False, metavar="[SYMBOL", help="Product id, such as BTC-USD.")
@click.argument("timeframe", required=False, metavar="TIMEFRAME]", help="Timeframe, such as 5m.")
@click.option("--all", "all_", is_flag=True, help="Ask about all series: symbols x timeframes of the settings.")
@click.option("--reach", is_flag=True, help="Print how far back each series is complete and verified.")
@click.option(
    "--bars", metavar="N", help="Number of newest closed bars to examine. [default: 100; --reach: max_candles]"
)
@click.option(
    "--max-unverified-ms",
    metavar="MS",
    help="How long after its close a bar may be unverified, or any. [default: the setting]",
)
@click.option(
    "--young-ms",
    metavar="MS",
    default="0",
    help="How long after its close a slot may be missing.",
)
@click.option("--members", is_flag=True, help="Examine the newest N members instead, and every slot between them.")
@prints_script(_script, "Print the Lua script that gives the same answer to any language, and do nothing else.")
@prints
@takes_settings(
    *("symbols", "timeframes", "base_url", *CACHE_SETTINGS, "layout", "user_id", "exchange_id", "grace_ms"),
    "max_candles",
)
def ready(
    *,
    symbol: str | None,
    timeframe: str | None,
    all_: bool,
    reach: bool,
    bars: str | None,
    max_unverified_ms: str | None,
    young_ms: str,
    members: bool,
    output: Output,
    given: Given,
) -> None:
    """Tell whether the last closed bars of a series can be trusted.

    Each must be present, verified and not suspect, or proved not to exist. With --all, list the series that are not
    ready, the worst first: why, since when, and the cure. Without symbols in the settings, the series that passes look
    at are examined.

    \b
    Examples:
      reconciler-engine ready BTC-USD 5m --bars 100
      reconciler-engine ready BTC-USD 5m --bars 100 --json
      reconciler-engine ready BTC-USD 5m --bars 100 --max-unverified-ms any
      reconciler-engine ready --all --symbols BTC-USD,ETH-USD --timeframes 1m,5m
      reconciler-engine ready --all --reach
      reconciler-engine ready --script > ready.lua

    The cache is read at this moment; the exchange is not asked. Exit code 0: ready; 3: not ready.
    """
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.cli.setting_sources import load_config
    from reconciler_engine.engine.ready import examine

    faults: list[str] = []
    is_of_all = all_ or reach or "symbols" in given.flags
    series = None if symbol is None else parse_series(symbol, timeframe, faults)
    if (symbol is None) != is_of_all:
        faults.append("SYMBOL TIMEFRAME or --all is to be given; allowed: one of them")
    count = None if bars is None else _bars(bars, faults)
    options: ReadyOptions = {"young_ms": _ms("--young-ms", young_ms, faults), "members": members}
    if max_unverified_ms == "any":
        options["max_unverified_ms"] = "any"
    elif max_unverified_ms is not None:
        options["max_unverified_ms"] = _ms("--max-unverified-ms", max_unverified_ms, faults, ", or any")
    config = load_config(*given, known_faults=faults, windows=())
    if is_of_all:
        from reconciler_engine.cli.ready_table import show_all

        show_all(config, given, options, output, bars=count, reach=reach)
        return
    if series is None:
        raise ConfigError(faults)
    count = count or _BARS

    async def ask(session: Session) -> tuple[Readiness, str | None]:
        asked = with_settings(options, config)
        readiness = await examine(session.parts.client, series.symbol, series.timeframe, count, **asked)
        return readiness, describe_absence(series.symbol, await session.products())

    readiness, product = in_session(config, output, "ready", ask)
    if output.as_json:
        told = {} if product is None else {"product": product}
        output.print_json({**as_object(series, count, readiness), **told})
    else:
        output.print_line(describe(series, f"{count} {'members' if members else 'closed bars'}", readiness))
        if product is not None and not readiness.is_ready:
            output.print_line(product)
    if not readiness.is_ready:
        leave(UNRESOLVED)


def describe_absence(symbol: str, listed: ProductList) -> str | None:
    """Return why a product has no newer bars, by the kept list of products; None if it trades, or no list is kept."""
    since = listed.listings.delisted_at(symbol)
    if since is not None:
        return f"{symbol} is delisted, known since {iso(since)}: its missing candles stay missing"
    if listed.why_absent(symbol) is not None:
        return f"{symbol} is not a product in the exchange's list: the exchange has no candles of it"
    return None


def with_settings(options: ReadyOptions, config: ReconciliationConfig) -> ReadyOptions:
    """Return the options of a question, completed by the settings."""
    from_settings: ReadyOptions = {
        "max_unverified_ms": config.max_unverified_ms,
        "user_id": config.user_id,
        "exchange_id": config.exchange_id,
        "layout": config.layout,
        "grace_ms": config.grace_ms,
    }
    return {**from_settings, **options}


def _bars(text: str, faults: list[str]) -> int:
    from reconciler_engine.store.ready_question import MAX_BARS

    bars = whole(text) or 0
    if not 1 <= bars <= MAX_BARS:
        faults.append(f"--bars {text[:60]!r} is not allowed; allowed: a whole number from 1 to {MAX_BARS}")
    return bars


def _ms(flag: str, text: str, faults: list[str], more: str = "") -> int:
    number = whole(text)
    if number is None or number < 0:
        faults.append(f"{flag} {text[:60]!r} is not allowed; allowed: a whole number of ms from 0{more}")
    return number or 0


def describe(series: Series, asked: str, readiness: Readiness) -> str:
    """Return the answer in a sentence; `asked` is the number of bars or members in words."""
    reach = f"the last {asked}, {iso(readiness.window.start)} to {iso(readiness.window.stop)}"
    # Overdue candles are counted below, so they are left out here.
    young = readiness.unverified - readiness.overdue.slots
    besides = [
        f"{slots} {words}"
        for slots, words in ((readiness.confirmed, "proved not to exist"), (young, "not verified yet"))
        if slots
    ]
    if readiness.is_ready:
        return f"{series} is ready: {', '.join([reach, *besides])}"
    counts = {
        "missing": readiness.missing,
        "suspect": readiness.suspect,
        "not a candle": readiness.malformed,
        "unverified": readiness.overdue,
    }
    more = "" if readiness.reason in counts else f" ({readiness.reason})"
    doubts = [
        f"{count.slots} {what}, the first {iso(count.first)}{more if count.first == readiness.ready_until else ''}"
        for what, count in counts.items()
        if count.first is not None
    ]
    if readiness.lacking:
        doubts.insert(0, f"{readiness.lacking} lacking")
    if readiness.ready_until > readiness.window.start:
        besides.append(f"ready before {iso(readiness.ready_until)}")
    return f"{series} is not ready: of {reach}: {'; '.join([*doubts, *besides])}"


def as_object(series: Series, bars: int, readiness: Readiness) -> dict[str, Any]:
    """Return the JSON object; instants are in ms UTC, and `stop` is the first instant after the bars."""
    told: dict[str, Any] = {
        "symbol": series.symbol,
        "timeframe": series.timeframe.value,
        "ready": readiness.is_ready,
        "bars": bars,
        "start": readiness.window.start,
        "stop": readiness.window.stop,
        "ready_until": readiness.ready_until,
    }
    for name in ("missing", "suspect", "malformed", "overdue"):
        count: SlotCount = getattr(readiness, name)
        told |= {name: count.slots, f"first_{name}": count.first}
    told |= {"lacking": readiness.lacking, "first_reason": readiness.reason}
    return {**told, "confirmed": readiness.confirmed, "unverified": readiness.unverified}

"""The answer of `ready`, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import trio

from reconciler_engine.cli.connection import open_cache
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.journal_answer import parse_series
from reconciler_engine.cli.numbers import whole
from reconciler_engine.cli.settings import load_config
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.ready import examine
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import iso
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.ready_question import MAX_BARS, Readiness


def show_readiness(
    symbol: str, timeframe: str, bars: str, flags: dict[str, str], config_file: str | None, *, as_json: bool
) -> None:
    """Print whether a series is ready; leave with 3 where it is not.

    Raises:
        ConfigError: An argument or a setting is not what it must be; every fault is named.
        ReconcilerError: There is no answer; nothing is printed then.
    """
    faults: list[str] = []
    series = parse_series(symbol, timeframe, faults)
    count = _bars(bars, faults)
    config = load_config(flags, config_file, known_faults=faults, windows=())
    if series is None:
        raise ConfigError(faults)
    readiness, simulated = trio.run(_ask, config, series, count)
    if as_json:
        print(json.dumps(as_object(series, count, readiness) | ({"simulated": True} if simulated else {})))
    else:
        print(f"{'SIMULATED ' if simulated else ''}{describe(series, count, readiness)}")
    if not readiness.is_ready:
        leave(UNRESOLVED)


async def _ask(config: ReconciliationConfig, series: Series, bars: int) -> tuple[Readiness, bool]:
    async with open_cache(config, "ready", writes=False) as cache, TrioRedis.from_url(cache.url) as client:
        readiness = await examine(
            client,
            series.symbol,
            series.timeframe,
            bars,
            user_id=config.user_id,
            exchange_id=config.exchange_id,
            grace_ms=config.grace_ms,
        )
        return readiness, cache.simulated


def _bars(text: str, faults: list[str]) -> int:
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
        f"{_slots(gaps)} {what}, the first {iso(gaps[0].start)}"
        for what, gaps in (("missing", readiness.missing), ("suspect", readiness.suspect))
        if gaps
    ]
    return f"{series} is not ready: of {reach}: {'; '.join([*doubts, *filter(None, [confirmed])])}"


def as_object(series: Series, bars: int, readiness: Readiness) -> dict[str, Any]:
    """Return what a program is told; instants in ms UTC, `stop` is the first one after the bars."""
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
        "confirmed": readiness.confirmed,
    }


def _slots(gaps: Sequence[Gap]) -> int:
    return sum(gap.count for gap in gaps)

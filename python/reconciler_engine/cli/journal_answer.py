"""The answer of `journal`: read from Redis, told to people or programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import trio

from reconciler_engine.cli.connection import open_cache
from reconciler_engine.cli.one_pass import parse_instant
from reconciler_engine.cli.report import print_columns
from reconciler_engine.cli.settings import load_config
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.engine.symbols import choose_kept_symbols
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import iso
from reconciler_engine.store.coverage import Coverage
from reconciler_engine.store.journal import Change, Journal, Why
from reconciler_engine.store.status_board import StatusBoard, scope_of

_TEXT_SHOWN = 60
_VALUES = ("open", "high", "low", "close", "volume", "sequenceNum")
_BY_HAND = (Why.MARKED, Why.FORGOTTEN)


def show_journal(
    symbol: str | None,
    timeframe: str | None,
    flags: dict[str, str],
    config_file: str | None,
    since: str | None,
    *,
    last: int,
    as_json: bool,
) -> None:
    """Print the newest changes of a series, or of all that are configured or known.

    Raises:
        ConfigError: An argument or a setting is out of order.
        StoreError: Redis did not do its part.
    """
    faults: list[str] = []
    asked = None if symbol is None else parse_series(symbol, timeframe, faults)
    instant = 0 if since is None else parse_instant("--since", since, faults)
    config = load_config(flags, config_file, known_faults=faults, windows=())
    changes, simulated = trio.run(_read, config, asked, instant, last)
    if as_json:
        mark = {"simulated": True} if simulated else {}
        print(json.dumps({"changes": [as_object(change) for change in changes], **mark}))
        return
    if simulated:
        print("SIMULATED")
    if not changes:
        print("nothing that was there was changed")
        return
    heads = ("when", "series", "slots", "why", "by", "change")
    print_columns(heads, [_cells(change) for change in changes])
    if len(changes) == last:
        print(f"the newest {last} changes; --last N shows more")


def parse_series(symbol: str, timeframe: str | None, faults: list[str]) -> Series | None:
    """Return the series that two arguments name; add to `faults` what is wrong with them."""
    try:
        parsed = Timeframe.parse(timeframe or "")
    except ValueError as error:
        faults.append(str(error))
        parsed = Timeframe.M1
    try:
        return Series(symbol, parsed)
    except ValueError as error:
        faults.append(str(error))
        return None


async def _read(config: ReconciliationConfig, asked: Series | None, since: int, last: int) -> tuple[list[Change], bool]:
    async with (
        open_cache(config, "journal", writes=False) as cache,
        open_parts(config, cache.url, owns_server=False) as parts,
    ):
        series = await _known_series(parts) if asked is None else [asked]
        return await Journal(parts.client, parts.scope).read(series, since=since, limit=last), cache.simulated


async def _known_series(parts: Parts) -> list[Series]:
    """Return the configured series; without any, those that passes have looked at, whatever exchange they asked."""
    config = parts.config
    if config.symbols:
        return config.with_symbols(await choose_kept_symbols(config.symbols, parts)).series()
    owner = (parts.scope.user_id, parts.scope.exchange_id)
    engines = [scope_of(engine) for engine in await StatusBoard(parts.client).read()]
    scopes = {parts.scope, *(scope for scope in engines if (scope.user_id, scope.exchange_id) == owner)}
    names = {name for scope in scopes for name in await Coverage(parts.client, scope).read()}
    return [series for name in sorted(names) if (series := _series_of(name)) is not None]


def _series_of(name: str) -> Series | None:
    """Return the series of a field that came out of Redis, where it is one."""
    try:
        return Series.parse(name)
    except ValueError:
        return None


def as_object(change: Change) -> dict[str, Any]:
    """Return what a program is told of a change; candles and counts as objects, what is no JSON as text."""
    return {
        "at": change.at,
        "symbol": change.series.symbol,
        "timeframe": change.series.timeframe.value,
        "start": change.start,
        "stop": change.stop,
        "why": change.why.value,
        "by": change.by,
        "old": _parsed(change.old),
        "new": _parsed(change.new),
    }


def _cells(change: Change) -> Sequence[str]:
    slots = iso(change.start)
    if change.stop - change.start > change.series.timeframe.step_ms:
        slots += f" to {iso(change.stop)}"
    describe = _describe_counts if change.why in _BY_HAND else _describe_members
    what = describe(_parsed(change.old), _parsed(change.new))
    return (iso(change.at, "seconds"), str(change.series), slots, change.why.value, _shortened(change.by) or "-", what)


def _describe_members(old: Any, new: Any) -> str:
    """Say what of a candle is another; of what was no candle, how it began."""
    if not isinstance(old, dict) or not isinstance(new, dict) or not any(name in old for name in _VALUES):
        return _shortened(old if isinstance(old, str) else json.dumps(old))
    changed = [name for name in _VALUES if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {_value(old, name)} -> {_value(new, name)}" for name in changed) or "written differently"


def _value(member: dict[str, Any], name: str) -> str:
    return _shortened(json.dumps(member[name])) if name in member else "none"


def _shortened(text: str) -> str:
    """Return a text that came out of the cache as a terminal may show it."""
    shown = text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}..."
    return shown if shown.isprintable() else ascii(shown)


def _describe_counts(old: Any, new: Any) -> str:
    return f"{_counts(old)} -> {_counts(new)}"


def _counts(states: Any) -> str:
    if not isinstance(states, dict) or not states:
        return "nothing known"
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

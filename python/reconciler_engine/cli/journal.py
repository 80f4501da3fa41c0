"""`journal`: what was there and was changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from reconciler_engine.cli.arguments import parse_instant, parse_series
from reconciler_engine.cli.options import JOURNAL_SETTINGS, Given, prints, takes_settings, whole_between
from reconciler_engine.cli.output import Output, print_columns, say
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import iso

if TYPE_CHECKING:
    from reconciler_engine.cli.session import Session
    from reconciler_engine.config import ReconciliationConfig
    from reconciler_engine.store.journal import Change

_TEXT_SHOWN = 60
_VALUES = ("open", "high", "low", "close", "volume", "sequenceNum")
_BY_HAND = ("marked", "forgotten")


@click.command()
@click.argument("symbol", required=False, metavar="[SYMBOL", help="Product id, such as BTC-USD.")
@click.argument("timeframe", required=False, metavar="TIMEFRAME]", help="Timeframe, such as 5m.")
@click.option("--since", metavar="TIME", help="Changes from this ISO 8601 time on, UTC by default.")
@click.option("--last", metavar="N", type=whole_between(1, 10_000), default=100, help="The newest N changes.")
@prints
@takes_settings(*JOURNAL_SETTINGS)
def journal(
    *, symbol: str | None, timeframe: str | None, since: str | None, last: int, output: Output, given: Given
) -> None:
    """Show what the engine changed that was there: candles removed or replaced, evidence set by hand; newest last.

    \b
    Examples:
      reconciler-engine journal
      reconciler-engine journal BTC-USD 1m --since 2026-01-31T13:00 --json

    Without a series the configured ones are shown, or all those that passes looked at. Candles that were only added
    are not journalled. A series keeps its newest 500 changes, for 30 days after the last one.
    """
    import trio

    from reconciler_engine.cli.setting_sources import load_config

    faults: list[str] = []
    asked = None if symbol is None else parse_series(symbol, timeframe, faults)
    instant = 0 if since is None else parse_instant("--since", since, faults)
    config = load_config(*given, known_faults=faults, windows=())
    changes = trio.run(_read, config, asked, instant, last, output)
    if output.as_json:
        output.print_json({"changes": [as_object(change) for change in changes]})
        return
    if output.simulated:
        say("SIMULATED")
    if not changes:
        say("nothing that was there was changed")
        return
    heads = ("when", "series", "slots", "why", "by", "change")
    print_columns(heads, [_cells(change) for change in changes])
    if len(changes) == last:
        say(f"the newest {last} changes; --last N shows more")


async def _read(
    config: ReconciliationConfig, asked: Series | None, since: int, last: int, output: Output
) -> list[Change]:
    from reconciler_engine.cli.session import open_session
    from reconciler_engine.store.journal import Journal

    async with open_session(config, output, "journal") as session:
        series = await _known_series(session) if asked is None else [asked]
        return await Journal(session.parts.client, session.parts.scope).read(series, since=since, limit=last)


async def _known_series(session: Session) -> list[Series]:
    """Return the configured series; without any, those that passes have looked at, whatever exchange they asked."""
    from reconciler_engine.store.coverage import Coverage
    from reconciler_engine.store.status_board import StatusBoard, scope_of

    parts = session.parts
    if parts.config.symbols:
        return await session.series()
    engines = [scope_of(engine) for engine in await StatusBoard(parts.client).read()]
    scopes = {parts.scope, *(scope for scope in engines if scope.candles == parts.scope.candles)}
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
    describe = _describe_counts if change.why.value in _BY_HAND else _describe_members
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

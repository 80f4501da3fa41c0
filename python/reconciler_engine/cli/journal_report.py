"""The answers of `journal`: single changes, passes with their results, or hourly sums."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler_engine.cli.output import Output, paged, print_columns, print_table, say
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import counted, describe_span, iso
from reconciler_engine.store.journal import Change, Why
from reconciler_engine.store.pass_records import PassRecord, SeriesRecord

if TYPE_CHECKING:
    from reconciler_engine.cli.journal import Done

_HOUR_MS: Final = 3_600_000
_TEXT_SHOWN = 60
_VALUES = ("open", "high", "low", "close", "volume", "sequenceNum")
_REPAIRED = frozenset({Why.REPAIRED, Why.REWRITTEN})
_BY_HAND = frozenset({Why.MARKED, Why.FORGOTTEN})
_COUNTS: Final = ("filled", "proved", "repaired", "removed", "by hand", "passes", "errors")
_SUMS: Final = (*_COUNTS, "requests", "references")


class Added(NamedTuple):
    """Numbers of slots of a series that a pass filled and proved empty, with the instant of the pass (ms UTC)."""

    at: int
    series: str
    filled: int
    proved: int
    by: str


def show_journal(done: Done, asked: Series | None, by: str, last: int, output: Output, *, with_routine: bool) -> None:
    """Print single changes, passes, or hourly sums, as `by` says; only those of the series `asked`, if given."""
    name = None if asked is None else str(asked)
    if by == "change":
        added = [one for record in done.passes for one in added_by(record) if name in (None, one.series)]
        _show_changes(done.changes, added, last, output)
    elif by == "run":
        passes = [one for one in done.passes if with_routine or not one.is_routine]
        passes = [one for one in passes if name is None or any(row.series == name for row in one.series)]
        _show_passes(passes[-last:], output)
    else:
        _show_hours(hours_of(done, name), last, output)


def added_by(record: PassRecord) -> Iterator[Added]:
    """Yield the additions of a pass to each series."""
    for row in record.series:
        if row.filled or row.proved:
            yield Added(record.at, row.series, row.filled, row.proved, record.run)


def hours_of(done: Done, name: str | None) -> dict[int, Counter[str]]:
    """Return the sums of each hour (ms UTC), ascending; only those of one series if it is named."""
    hours: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for record in done.passes:
        hour = hours[record.at // _HOUR_MS * _HOUR_MS]
        if name is None:
            hour.update({"passes": 1, "errors": record.errors})
            hour.update({"requests": record.requests, "references": record.references})
            _add(hour, record)
        for row in record.series:
            if row.series == name:
                _add(hour, row)
    for change in done.changes:
        if change.why is Why.DISAGREES:
            continue
        kind = "by hand" if change.why in _BY_HAND else "repaired" if change.why in _REPAIRED else "removed"
        hours[change.at // _HOUR_MS * _HOUR_MS][kind] += 1
    return dict(sorted(hours.items()))


def _add(hour: Counter[str], counts: PassRecord | SeriesRecord) -> None:
    hour.update({"filled": counts.filled, "proved": counts.proved})


def _show_changes(changes: Sequence[Change], added: Sequence[Added], last: int, output: Output) -> None:
    every: list[Change | Added] = [*changes, *added]
    rows = sorted(every, key=lambda one: one.at)[-last:]
    if output.as_json:
        kept = frozenset(map(id, rows))
        told = [as_object(one) for one in changes if id(one) in kept]
        output.print_json({"changes": told, "added": [one._asdict() for one in added if id(one) in kept]})
        return
    with paged():
        if output.simulated:
            say("SIMULATED")
        if not rows:
            say("nothing was added, and nothing that was there was changed")
            return
        heads = ("when", "series", "slots", "why", "by", "change")
        print_columns(heads, [_cells(one) if isinstance(one, Change) else _added_cells(one) for one in rows])
        if len(rows) == last:
            say(f"the newest {last} rows; --last N shows more")


def _show_passes(passes: Sequence[PassRecord], output: Output) -> None:
    if output.as_json:
        output.print_json({"passes": [one.model_dump() for one in passes]})
        return
    with paged():
        rows = [
            (iso(one.at, "seconds"), one.job, describe_span(one.duration_ms), f"{_result(one)}; {one.run}")
            for one in passes
        ]
        print_columns(("when", "job", "took", "result; run"), rows)
        for one in passes:
            for error in one.first_errors:
                say(f"  {one.run}: {error}")
        output.print_line(f"{counted(len(passes), 'pass') if len(passes) == 1 else f'{len(passes)} passes'} shown")


def _result(one: PassRecord) -> str:
    """Describe findings and repairs of a pass, the most important first."""
    counts = (
        (one.errors, "error" if one.errors == 1 else "errors"),
        (one.filled, "filled"),
        (one.unresolved, "left"),
        (one.proved, "proved empty"),
        (one.repaired, "repaired"),
        (one.rewritten, "rewritten by the exchange"),
        (one.newly_verified, "verified"),
        (one.by_sum, "of these by sums"),
        (one.requests + one.references, "request" if one.requests + one.references == 1 else "requests"),
    )
    return ", ".join(f"{count} {words}" for count, words in counts if count) or "nothing to do"


def _show_hours(hours: Mapping[int, Counter[str]], last: int, output: Output) -> None:
    shown = dict([*hours.items()][-last:])
    if output.as_json:
        told = [
            {"hour": hour, **{name.replace(" ", "_"): sums[name] for name in _SUMS}} for hour, sums in shown.items()
        ]
        output.print_json({"hours": told})
        return
    with paged():
        if output.simulated:
            say("SIMULATED")
        total: Counter[str] = Counter()
        for sums in shown.values():
            total.update(sums)
        # Without the year, so that the line fits a terminal.
        lines = [(iso(hour)[5:], sums) for hour, sums in shown.items()]
        rows = [
            (name, *(str(sums[one]) for one in _COUNTS), str(sums["requests"] + sums["references"]))
            for name, sums in [*lines, ("together", total)]
        ]
        print_table(("hour", *(name.removeprefix("by ") for name in _COUNTS), "requests"), rows)


def as_object(change: Change) -> dict[str, Any]:
    """Return the JSON object of a change; candles and counts become objects, other members stay text."""
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


def _added_cells(one: Added) -> Sequence[str]:
    told = (f"{count} {words}" for count, words in ((one.filled, "filled"), (one.proved, "proved empty")) if count)
    why = "filled" if one.filled else "proved"
    return (iso(one.at, "seconds"), one.series, counted(one.filled + one.proved, "slot"), why, one.by, ", ".join(told))


def _cells(change: Change) -> Sequence[str]:
    slots = iso(change.start)
    if change.stop - change.start > change.series.timeframe.step_ms:
        slots += f" to {iso(change.stop)}"
    old, new = _parsed(change.old), _parsed(change.new)
    what = f"{_counts(old)} -> {_counts(new)}" if change.why in _BY_HAND else _describe_members(old, new)
    return (iso(change.at, "seconds"), str(change.series), slots, change.why.value, _shortened(change.by) or "-", what)


def _describe_members(old: Any, new: Any) -> str:
    """Return the changed values of a candle; for another member, the beginning of its text."""
    if not isinstance(old, dict) or not isinstance(new, dict) or not any(name in old for name in _VALUES):
        return _shortened(old if isinstance(old, str) else json.dumps(old))
    changed = [name for name in _VALUES if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {_value(old, name)} -> {_value(new, name)}" for name in changed) or "written differently"


def _value(member: dict[str, Any], name: str) -> str:
    return _shortened(json.dumps(member[name])) if name in member else "none"


def _shortened(text: str) -> str:
    """Return a text of the cache, shortened for a terminal."""
    shown = text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}..."
    return shown if shown.isprintable() else ascii(shown)


def _counts(states: Any) -> str:
    if not isinstance(states, dict) or not states:
        return "nothing known"
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

"""The answer of `inspect`: figures and findings of each series, for people and for programs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler_engine.cli.candle_files import FILE_HEADS, file_cells
from reconciler_engine.cli.output import UNKNOWN, Output, print_table, say
from reconciler_engine.engine.cache_inspection import InspectedCache
from reconciler_engine.inspection.file_inspection import InspectedFile
from reconciler_engine.inspection.flaws import Flaw, Severity
from reconciler_engine.observe.words import counted, iso, iso_uncut
from reconciler_engine.planning.ledger import State

_FILE_HEADS = (*FILE_HEADS, "in runs of", "dup", "errors", "warnings", "notes")
_CACHE_HEADS = (
    *("series", "slots", "candles", "missing", "in runs of", "empty", "halted", "suspect", "contested", "verified"),
    *("since", "dup", "no candle", "ready", "errors", "warnings", "notes"),
)
_TOLD = 3
"""Largest number of places of a finding that are printed for people."""

_LENGTHS = {"1": 1, "2": 2, "3-5": 3, "6-15": 6, "16-60": 16, "61+": 61}
"""Classes of runs of missing slots, with their least length: lost messages, outages and long holes differ in cure."""


def has_errors(flaws: Sequence[Flaw]) -> bool:
    """Whether one of the findings is an error."""
    return any(flaw.rule.severity is Severity.ERROR for flaw in flaws)


def print_files(found: Sequence[InspectedFile]) -> None:
    """Print figures and findings of series in files."""
    if found:
        print_table(_FILE_HEADS, [_file_cells(one) for one in found])
    for one in found:
        _print_flaws(f"{one.source.name} {one.series}", one.flaws)


def print_cache(found: Sequence[InspectedCache], output: Output) -> None:
    """Print figures and findings of series in the cache."""
    if output.simulated:
        say("SIMULATED")
    if found:
        print_table(_CACHE_HEADS, [_cache_cells(one) for one in found])
    for one in found:
        if one.error is not None:
            say(f"{one.series}: not read: {one.error}")
        _print_flaws(str(one.series), one.flaws)


def count_by_length(runs: Iterable[int]) -> dict[str, int]:
    """Return the number of slots in the runs of each class of `_LENGTHS`; a run has at least one slot."""
    names, slots = [*_LENGTHS], dict.fromkeys(_LENGTHS, 0)
    for run in runs:
        slots[names[bisect_right([*_LENGTHS.values()], run) - 1]] += run
    return slots


def file_object(one: InspectedFile) -> dict[str, Any]:
    """Return the JSON object of a series in files; instants in ms UTC."""
    summary = one.summary
    slots, lengths = summary.interval.size(summary.step), count_by_length(summary.gaps.counts)
    told = one.as_object(slots=slots, missing_by_length=lengths)
    return {**told, "findings": [_flaw_object(flaw) for flaw in one.flaws]}


def cache_object(one: InspectedCache) -> dict[str, Any]:
    """Return the JSON object of a series in the cache; instants in ms UTC."""
    step, candles, ready = one.series.timeframe.step_ms, one.candles, one.readiness
    return {
        "symbol": one.series.symbol,
        "timeframe": one.series.timeframe.value,
        "start": one.slots.start,
        "stop": one.slots.stop,
        "slots": one.slots.size(step),
        "candles": candles,
        "missing": one.states[State.MISSING],
        "missing_by_length": count_by_length(run.size(step) for run in one.missing),
        "empty": one.states[State.EMPTY],
        "halted": one.states[State.HALTED],
        "unlisted": one.states[State.UNLISTED],
        "suspect": one.states[State.SUSPECT],
        "contested": one.contested.size(step),
        "verified": one.states[State.PRESENT],
        "verified_share": one.states[State.PRESENT] / candles if candles else None,
        "verified_since": one.verified_since,
        "duplicates": one.duplicates,
        "not_candles": one.malformed,
        "ready": None if ready is None else ready.is_ready,
        "ready_bars": 0 if ready is None else ready.window.size(step),
        "ready_until": None if ready is None else ready.ready_until,
        "first_reason": None if ready is None else ready.reason,
        "error": one.error,
        "findings": [_flaw_object(flaw) for flaw in one.flaws],
    }


def _flaw_object(flaw: Flaw) -> dict[str, Any]:
    rule = flaw.rule
    return {
        "rule": rule.label,
        "severity": rule.severity.value,
        "what": rule.what,
        "rows": flaw.rows,
        "places": flaw.places,
        "where": [place._asdict() for place in flaw.told],
        "cure": rule.cure,
    }


def _print_flaws(name: str, flaws: Sequence[Flaw]) -> None:
    for flaw in flaws:
        say(f"{flaw.rule.severity.value}: {name}: {flaw.rule.what}: {flaw.rows}; to do: {flaw.rule.cure}")
        for place in flaw.told[:_TOLD]:
            rows = f" ({place.rows} in a row)" if place.first != place.last else ""
            slots = "" if place.first is None else f"{iso_uncut(place.first)}{rows}"
            say(f"  {': '.join(filter(None, (slots, place.numbers)))}")
        if flaw.places > _TOLD:
            say(f"  and {counted(flaw.places - _TOLD, 'more place')}")


def _lengths(slots: Mapping[str, int]) -> str:
    return " ".join(f"{name}:{number}" for name, number in slots.items() if number) or "-"


def _severities(flaws: Sequence[Flaw]) -> tuple[str, ...]:
    return tuple(str(sum(flaw.rows for flaw in flaws if flaw.rule.severity is one)) for one in Severity)


def _file_cells(one: InspectedFile) -> tuple[str, ...]:
    lengths = _lengths(count_by_length(one.summary.gaps.counts))
    return (*file_cells(one), lengths, str(one.summary.duplicates), *_severities(one.flaws))


def _cache_cells(one: InspectedCache) -> tuple[str, ...]:
    if one.error is not None:
        return (str(one.series), *[UNKNOWN] * (len(_CACHE_HEADS) - 1))
    told = cache_object(one)
    share, since = told["verified_share"], told["verified_since"]
    numbers = {name: str(told[name]) for name in ("slots", "candles", "missing", "empty", "halted", "suspect")}
    ready = {None: "-", True: "yes", False: "no"}[told["ready"]]
    return (
        str(one.series),
        *(numbers[name] for name in ("slots", "candles", "missing")),
        _lengths(told["missing_by_length"]),
        *(numbers[name] for name in ("empty", "halted", "suspect")),
        str(told["contested"]),
        "-" if share is None else f"{share:.1%}",
        "-" if since is None else iso(since),
        str(one.duplicates),
        str(one.malformed),
        ready,
        *_severities(one.flaws),
    )

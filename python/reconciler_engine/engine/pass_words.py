"""The result of a pass as a log line, and as fields for logs and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.observe.words import counted, told_slots

CAUSES_TOLD = 10
"""Most causes of errors that a log line or the status lists, the most frequent first."""

_NAMED = 2


def in_words(result: ReconciliationResult) -> str:
    """Describe the result of a pass in one line; if it found gaps, name the series with the most."""
    took = f"{result.duration_ms / 1_000:.1f} s"
    unknown = sum(not row.expected for row in result.series)
    if result.missing or result.filled:
        slots = told_slots(result.filled, result.confirmed_empty, result.unresolved)
        text = f"{counted(result.gaps_found, 'gap')}; {slots}; {counted(result.requests, 'request')}, {took}"
        if result.gaps_found:
            text += f"; most gaps: {_most(result.series)}"
    else:
        looked_at = len(result.series) - unknown
        text = f"nothing missing in {looked_at} series, {took}" if result.series else f"no series was due, {took}"
        if result.confirmed_empty:
            text += f"; {counted(result.confirmed_empty, 'slot')} proved empty"
        if result.requests:
            text += f"; {counted(result.requests, 'request')} to look again"
    if result.delisted:
        text += f"; {_gone(result)}"
    if result.mismatched:
        text += f"; {_repairs(result)}"
    for told in unexamined(result.series):
        text += f"; {told}"
    if result.degraded is not None:
        text = f"{result.degraded}; {text}"
    elif result.errors:
        text += f"; {counted(len(result.causes), 'cause')} of errors, most: {result.causes[0]}"
    return text


def _gone(result: ReconciliationResult) -> str:
    """Say how many unresolved slots belong to delisted products."""
    left = sum(row.unresolved for row in result.series if row.delisted_at is not None)
    more = f", and {len(result.delisted) - _NAMED} more" if len(result.delisted) > _NAMED else ""
    return f"{left} of those left of products that are delisted: {', '.join(result.delisted[:_NAMED])}{more}"


def unexamined(rows: Sequence[SeriesResult]) -> list[str]:
    """Say how many series could not be read, and how many had no closed slot to examine."""
    unread = sum(not row.expected and bool(row.errors) for row in rows)
    empty = sum(not row.expected and not row.errors for row in rows)
    told = {f"{unread} series unknown, not read": unread, f"{empty} series without a closed slot examined": empty}
    return [text for text, count in told.items() if count]


def _repairs(result: ReconciliationResult) -> str:
    """Say what became of candles that differed from the exchange's."""
    text = f"{counted(result.mismatched, 'wrong bar')}: {result.repaired} repaired"
    if result.rewritten:
        text += f", {result.rewritten} of them rewritten by the exchange since they were verified"
    if result.wrong_sums:
        text += f", {result.wrong_sums} of them though the sums of finer bars agreed"
    rows = [row for row in result.series if row.again_at is not None]
    if waiting := sum(max(row.mismatched - row.repaired, 0) for row in rows):
        text += f", {waiting} wait for another answer"
    return text


def _most(rows: Sequence[SeriesResult]) -> str:
    gappy = sorted((row for row in rows if row.gaps), key=lambda row: (-row.gaps, -row.missing, row.symbol))
    more = f", and {len(gappy) - _NAMED} more" if len(gappy) > _NAMED else ""
    return ", ".join(f"{row.symbol}:{row.timeframe} {row.gaps}" for row in gappy[:_NAMED]) + more


def totals(result: ReconciliationResult) -> dict[str, object]:
    """Return a result's fields without its rows, which may be thousands; `errors` lists each cause once."""
    told = {each.name: getattr(result, each.name) for each in fields(result) if each.name != "series"}
    gone = {"delisted": result.delisted} if result.delisted else {}
    return {**told, "errors": result.causes[:CAUSES_TOLD], **gone}


def as_object(result: ReconciliationResult) -> dict[str, object]:
    """Return a result with its rows, for JSON output; `errors` lists each cause once."""
    return {**asdict(result), "errors": result.causes}

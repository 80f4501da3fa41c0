"""Second requests of a comparison: differing candles are asked for again, and replaced if both answers agree."""

from __future__ import annotations

from dataclasses import replace

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.passes.reconciler import Reconciler
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult, SeriesResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.sightings import APART_MS
from reconciler_engine.planning.verification import Verify

SECOND_AFTER_MS = APART_MS + 1_000
"""Least time between two answers that count separately (ms)."""


def awaits_second(row: SeriesResult) -> bool:
    """Whether candles of a series differed from the exchange's and were not replaced."""
    return row.mismatched > row.repaired


async def ask_again(reconciler: Reconciler, job: str, first: ReconciliationResult) -> ReconciliationResult:
    """Ask again for candles that differed in a comparison; return the combined result of both.

    Raises:
        StoreError: Redis cannot be reached or lost the run.
    """
    windows = {_series_of(row): Interval(row.start, row.stop) for row in first.series if awaits_second(row)}
    second = await reconciler.run_pass(PassRequest(job, [*windows], windows, verify=Verify.SUSPECTS))
    found = {_series_of(row): row for row in second.series}
    return ReconciliationResult.of(
        [_joined(row, found.get(_series_of(row))) for row in first.series],
        gaps_filled=first.gaps_filled + second.gaps_filled,
        duration_ms=first.duration_ms + SECOND_AFTER_MS + second.duration_ms,
        degraded=second.degraded,
    )


def _joined(first: SeriesResult, second: SeriesResult | None) -> SeriesResult:
    """Return the combined row of a comparison and its repetition; a candle that differed twice counts once."""
    if second is None:
        return first
    return replace(
        first,
        filled=first.filled + second.filled,
        confirmed_empty=second.confirmed_empty,
        unresolved=second.unresolved,
        repaired=first.repaired + second.repaired,
        rewritten=first.rewritten + second.rewritten,
        requests=first.requests + second.requests,
        references=first.references + second.references,
        errors=tuple(dict.fromkeys((*first.errors, *second.errors))),
    )


def _series_of(row: SeriesResult) -> Series:
    return Series(row.symbol, Timeframe(row.timeframe))

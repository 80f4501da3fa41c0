"""Second answers of a comparison: candles that differed are asked for once more, and give way where both agree."""

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
"""A second answer counts so long after the first one."""


def awaits_second(row: SeriesResult) -> bool:
    """Whether candles of a series were unlike the exchange's and did not give way."""
    return row.mismatched > row.repaired


async def ask_again(reconciler: Reconciler, job: str, first: ReconciliationResult) -> ReconciliationResult:
    """Ask again for candles that differed in a comparison; return its result with their outcomes.

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
    """Return the row of a comparison after a second one of the same slots; those that differed count once."""
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

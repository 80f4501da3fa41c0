"""Evidence as an operator changes it: what he knows of a range of slots, or that nothing is known."""

from __future__ import annotations

from typing import NamedTuple

from reconciler_engine.engine.tasks.scan import scan
from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.hand_marks import mark
from reconciler_engine.planning.ledger import Knowledge, State
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.journal import Why
from reconciler_engine.store.retention import Retention


class EvidenceEdit(NamedTuple):
    """What a change by hand did: slots changed, and slots left out since they hold a candle."""

    changed: int
    present: int


async def mark_slots(
    candles: CandleStore,
    evidence: EvidenceStore,
    series: Series,
    slots: Interval,
    state: State,
    retention: Retention,
    at: int,
    *,
    by: str,
) -> EvidenceEdit:
    """Say that slots are `EMPTY`, `HALTED` or `UNLISTED`, for good, where they hold no candle; journalled.

    A candle that comes at the same moment wins all the same, with the next answer that has it.

    Args:
        candles: The cache.
        evidence: The ledgers.
        series: Whose slots.
        slots: On the grid, closed and kept.
        state: What they are.
        retention: What the cache keeps.
        at: When it was said (ms UTC).
        by: Who said it.

    Raises:
        StoreError: The cache could not be read or written, or the ledger kept changing: nothing was done.
    """
    step = series.timeframe.step_ms
    (found,) = await scan(candles, [(series, slots)])
    if found.error is not None:
        raise found.error
    absent = Intervals.of_gaps(found.gaps, step)
    why = Why.MARKED
    changed = await evidence.change(
        series, slots, retention, lambda known: mark(known, absent, state, at), why=why, by=by
    )
    _check(changed, series)
    count = sum(gap.count for gap in found.gaps)
    return EvidenceEdit(count, slots.size(step) - count)


async def forget_slots(
    evidence: EvidenceStore, series: Series, slots: Interval, retention: Retention, at: int, *, by: str
) -> EvidenceEdit:
    """Forget what is known of slots; journalled. The next pass asks for those that hold no candle.

    Raises:
        StoreError: As `mark_slots`.
    """
    step = series.timeframe.step_ms
    extent = await evidence.extent(series)
    if extent is None or not (known := slots & extent):
        return EvidenceEdit(0, 0)
    counts: list[int] = []

    def forget(before: Knowledge) -> Knowledge:
        counts.append(sum(stretch.stop - stretch.start for stretch in before.ledger.within(known)) // step)
        return mark(before, Intervals((known,)), State.UNKNOWN, at)

    _check(await evidence.change(series, known, retention, forget, why=Why.FORGOTTEN, by=by), series)
    return EvidenceEdit(counts[-1], 0)


def _check(changed: Knowledge | None, series: Series) -> None:
    if changed is None:
        raise StoreError(f"the evidence of {series} kept changing; nothing was done, try again")

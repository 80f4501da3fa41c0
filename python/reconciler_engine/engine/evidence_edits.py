"""Changes of evidence by an operator: sets the state of a range of slots, accepts its candles, or forgets findings."""

from __future__ import annotations

from typing import NamedTuple

from reconciler_engine.engine.tasks.scan import CONFIRM_MS, scan
from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.hand_marks import MOST_ACCEPTED, accept, digest_of, mark
from reconciler_engine.planning.ledger import Knowledge, State
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.findings import DAY_MS
from reconciler_engine.store.journal import Why
from reconciler_engine.store.retention import Retention, days_kept


class EvidenceEdit(NamedTuple):
    """Numbers of slots that an operator's change did and did not reach.

    Attributes:
        changed: Slots changed.
        left_out: Slots of the range left unchanged: those with a candle for `mark_slots`, those without exactly one
            for `accept_candles`.
    """

    changed: int
    left_out: int


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
    """Mark the slots without a candle permanently `EMPTY`, `HALTED` or `UNLISTED`, and note that in the journal.

    A candle that is written at the same moment stays; the next answer that has it removes the finding.

    Args:
        candles: The cache.
        evidence: The ledgers.
        series: Series of the slots.
        slots: Closed slots within the retention, from an open time to the one after the last slot.
        state: New state of the slots.
        retention: Bounds on the candles that the cache keeps.
        at: Instant of the change (ms UTC).
        by: Author of the change.

    Raises:
        StoreError: The cache could not be read or written, or the ledger kept changing; nothing was changed.
    """
    step = series.timeframe.step_ms
    absent = await _absent(candles, series, slots)
    changed = await evidence.change(
        series, slots, retention, lambda known: mark(known, absent, state, at), why=Why.MARKED, by=by
    )
    _check(changed, series)
    count = absent.size(step)
    return EvidenceEdit(count, slots.size(step) - count)


async def accept_candles(
    candles: CandleStore,
    evidence: EvidenceStore,
    series: Series,
    slots: Interval,
    retention: Retention,
    at: int,
    *,
    by: str,
) -> EvidenceEdit:
    """Accept the candles of slots until they change, whatever the exchange answers; note that in the journal.

    Slots without a candle, and slots with several, are left out. The arguments are those of `mark_slots`.

    Raises:
        ValueError: The series would have more accepted candles than allowed.
        StoreError: The cache could not be read or written, or it kept changing; nothing was changed.
    """
    step = series.timeframe.step_ms
    members: dict[int, bytes] = {}
    for part in slots.parts(PAGE_SLOTS * step):
        present = part - await _absent(candles, series, part)
        copies = await candles.copies(series, part) if present else {}
        members |= {slot: copy.member for slot, copy in copies.items() if present.holds(slot)}
        if len(members) > MOST_ACCEPTED:
            raise ValueError(f"{len(members)} candles or more; allowed: at most {MOST_ACCEPTED} accepted in a series")
    digests = {slot: digest_of(member) for slot, member in members.items()}
    there = Intervals.of_slots(sorted(members), step)
    oldest = at - days_kept(retention, step) * DAY_MS
    changed = await evidence.change(
        series,
        slots,
        retention,
        lambda known: accept(known, there, digests, oldest),
        unmoved=members,
        why=Why.MARKED,
        by=by,
    )
    _check(changed, series)
    return EvidenceEdit(len(members), slots.size(step) - len(members))


async def forget_slots(
    evidence: EvidenceStore, series: Series, slots: Interval, retention: Retention, at: int, *, by: str
) -> EvidenceEdit:
    """Delete the findings on slots, and note that in the journal; the next pass asks for those without a candle.

    Raises:
        StoreError: As `mark_slots`.
    """
    step = series.timeframe.step_ms
    extent = await evidence.extent(series)
    if extent is None or not (known := slots & extent):
        return EvidenceEdit(0, 0)
    counts: list[int] = []

    def forget(before: Knowledge) -> Knowledge:
        counts.append(_known_slots(before, known, step).size(step))
        return mark(before, Intervals((known,)), State.UNKNOWN, at)

    _check(await evidence.change(series, known, retention, forget, why=Why.FORGOTTEN, by=by), series)
    return EvidenceEdit(counts[-1], 0)


async def _absent(candles: CandleStore, series: Series, slots: Interval) -> Intervals:
    (found,) = await scan(candles, [(series, slots)], confirm_ms=CONFIRM_MS)
    if found.error is not None:
        raise found.error
    return Intervals.of_gaps(found.gaps, series.timeframe.step_ms)


def _known_slots(known: Knowledge, interval: Interval, step: int) -> Intervals:
    """Return the slots of an interval with a finding, a noted existence or an accepted candle."""
    found = known.ledger.where(interval, lambda _: True) | known.exists
    return (found | Intervals.of_slots(sorted(known.accepted), step)) & interval


def _check(changed: Knowledge | None, series: Series) -> None:
    if changed is None:
        raise StoreError(f"the evidence of {series} kept changing; nothing was done, try again")

"""The reference of an answer: the same slots of a product that always trades, asked for at the same moment. Pure.

An exchange that withholds candles withholds those of this product as well. If the product has all its candles, the
slots that the answer lacks had no trades.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.answers import independent_of
from reconciler_engine.planning.ledger import Knowledge
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.sightings import APART_MS, LEAST_WITNESSES, THIRD_AFTER_MS

WHOLE_FOR_MS = 60_000
"""A whole reference counts for answers within a minute of it. An outage may begin later."""

_SAME_OUTAGE_MS = 2 * THIRD_AFTER_MS
"""If two references lack rows and are further apart than this, they show two separate outages."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An answer about the reference product of a timeframe.

    Attributes:
        slots: Slots asked for.
        at: Instant of the request (ms UTC).
        is_whole: Whether every slot has a row, or is known to have no candle of that product.
        lacking_since: Instant of the first answer in the current run of answers that lack rows (ms UTC); None if whole.
    """

    slots: Interval
    at: int
    is_whole: bool
    lacking_since: int | None = None

    def covers(self, slots: Interval) -> bool:
        """Whether the reference includes all of these slots."""
        return self.slots.start <= slots.start and slots.stop <= self.slots.stop

    @property
    def is_hopeless(self) -> bool:
        """Whether it has lacked rows for an hour, so that proofs must do without a reference."""
        return self.lacking_since is not None and self.at - self.lacking_since >= THIRD_AFTER_MS

    def is_current(self, at: int) -> bool:
        """Whether a new request at `at` (ms UTC) would be useless: too soon after the last one.

        A whole reference is current for a minute, and a hopeless one for an hour. One that lacks rows is current for
        four minutes, so that every scan asks for it: scans are about five minutes apart.
        """
        if self.is_hopeless and 0 <= at - self.at < THIRD_AFTER_MS:
            return True
        return abs(at - self.at) < (WHOLE_FOR_MS if self.is_whole else APART_MS)


def reference_slots(slots: Interval, closed: int, step: int) -> Interval:
    """Return the slots to request as a reference: the newest page if `slots` begin in it, else a page from their start.

    All series with questions about the newest page share one reference.

    Args:
        slots: Slots that need a reference, at most a page.
        closed: First open time that has not closed (ms UTC).
        step: The grid's step (ms).
    """
    newest = Interval(max(closed - PAGE_SLOTS * step, 0), closed)
    if slots.start >= newest.start:
        return newest
    return Interval(slots.start, min(slots.start + PAGE_SLOTS * step, closed))


def may_want_reference(absent: Intervals, candles: Intervals, known: Knowledge, now: int, step: int) -> bool:
    """Return whether an answer that lacks the absent slots could prove more with a reference.

    Args:
        absent: Slots of a page that hold no candle.
        candles: Slots of that page that hold a candle.
        known: The knowledge about the series.
        now: Instant of the question (ms UTC).
        step: The grid's step (ms).
    """
    unproved = absent - known.ledger.confirmed(absent.hull) if absent else absent
    if not unproved:
        return False
    is_sighted = bool(unproved & known.ledger.where(unproved.hull, lambda finding: not finding.is_confirmed))
    witnesses = independent_of(candles, known, now).size(step)
    return is_sighted or witnesses < max(LEAST_WITNESSES, unproved.size(step))


def note_reference(
    before: Reference | None, slots: Interval, at: int, rows: Intervals, settled: Intervals
) -> Reference:
    """Return the reference after an answer about the reference product.

    Args:
        before: The previous reference of these slots, or None.
        slots: Slots asked for.
        at: Instant of the request (ms UTC).
        rows: Slots of the answer's usable rows.
        settled: Slots known to have no candle of that product.
    """
    if not slots - rows - settled:
        return Reference(slots, at, is_whole=True)
    since = at
    if before is not None and before.lacking_since is not None and at - before.at < _SAME_OUTAGE_MS:
        since = min(before.lacking_since, at)
    return Reference(slots, at, is_whole=False, lacking_since=since)

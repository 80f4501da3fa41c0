"""One series in the tally of a pass."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import with_error


@dataclass(slots=True)
class SeriesRow:
    """Findings and repairs of a pass in one series.

    Attributes:
        window: The slots examined.
        step: The grid's step (ms).
        examined: Whether the scan could read the whole window.
        missing_before: Slots that the scan found missing.
        confirmed_before: Slots that were confirmed to have no candle at the scan.
        unverified_before: Slots with an unverified or suspect candle at the scan.
        due: Missing or confirmed slots that are worth a request.
        suspects: Slots with a suspect candle that is due.
        unverified: Slots with an unverified candle, without those in `resting`.
        changed: Slots of `unverified` whose candle replaced a verified one.
        resting: Slots with an unverified candle that waits for another answer.
        again_at: Earliest instant at which one of the waiting slots is worth a request (ms UTC).
        to_audit: Slots whose candles are to be asked for.
        asked: Slots of each answer of this pass.
        answered: Slots that an answer of this pass decided.
        reopened: Confirmed slots that a neighbouring page put in doubt.
        unresolved: Slots that are missing now.
        confirmed: Slots that are confirmed to have no candle now.
    """

    window: Interval
    step: int
    examined: bool = False
    missing_before: Intervals = NOTHING
    confirmed_before: Intervals = NOTHING
    unverified_before: Intervals = NOTHING
    due: Intervals = NOTHING
    suspects: Intervals = NOTHING
    unverified: Intervals = NOTHING
    changed: Intervals = NOTHING
    resting: Intervals = NOTHING
    again_at: int | None = None
    to_audit: Intervals = NOTHING
    asked: list[Interval] = field(default_factory=list)
    answered: Intervals = NOTHING
    reopened: Intervals = NOTHING
    unresolved: Intervals = NOTHING
    confirmed: Intervals = NOTHING
    duplicates: int = 0
    malformed: int = 0
    mismatched: int = 0
    repaired: int = 0
    rewritten: int = 0
    newly_verified: int = 0
    by_sum: int = 0
    wrong_sums: int = 0
    requests: int = 0
    references: int = 0
    errors: tuple[str, ...] = ()

    def note(self, error: str | None) -> None:
        """Add an error message unless it is there already; None adds nothing."""
        self.errors = with_error(self.errors, error)

    def learn(self, slots: Interval, unresolved: Intervals, confirmed: Intervals) -> None:
        """Update the absent slots of a page; slots outside both sets now hold a candle."""
        absent = self.missing_before | self.confirmed_before
        self.unresolved = (self.unresolved - slots) | (unresolved & absent)
        self.confirmed = (self.confirmed - slots) | (confirmed & absent)
        # Pages come in any order; a doubt of an earlier one must outlast this page.
        self.unresolved |= self.confirmed & self.reopened
        self.confirmed -= self.reopened

    def note_verified(self, verified: Intervals, again_at: int | None) -> None:
        """Update the verified candles of a page, and the earliest instant of the next request."""
        self.newly_verified += (self.unverified & verified).size(self.step)
        self.unverified -= verified
        self.resting -= verified
        self.changed -= verified
        self.suspects = NOTHING
        self.again_at = min((at for at in (self.again_at, again_at) if at is not None), default=None)

    @property
    def slots(self) -> Interval:
        """The window, cut to whole slots."""
        return self.window.slots(self.step)

    def filled_in(self, slots: Interval) -> Intervals:
        """Return the slots of an interval that gained a candle in this pass."""
        if not (self.missing_before or self.confirmed_before):
            return NOTHING
        return ((self.missing_before | self.confirmed_before) - self.unresolved - self.confirmed) & slots

    @property
    def filled(self) -> int:
        """Number of slots that gained a candle in this pass."""
        return self.filled_in(self.slots).size(self.step) if self.missing_before or self.confirmed_before else 0

    @property
    def proved(self) -> int:
        """Number of slots that this pass confirmed to have no candle."""
        return (self.confirmed - self.confirmed_before).size(self.step) if self.confirmed else 0

    @property
    def gaps_filled(self) -> int:
        """Number of gaps in which every slot now holds a candle."""
        if not self.missing_before:
            return 0
        starts = [gap.start for gap in self.missing_before]
        open_ = self.missing_before & (self.unresolved | self.confirmed)
        return len(self.missing_before) - len({bisect_right(starts, one.start) for one in open_})

"""One series in the tally of a pass."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import with_error


@dataclass(slots=True)
class SeriesRow:
    """Knowledge of one series so far.

    Attributes:
        window: The slots looked at.
        step: The grid's step (ms).
        examined: Whether a scan examined it whole.
        missing_before: Slots that were missing when it was scanned.
        confirmed_before: Slots that were confirmed to have no candle when it was scanned.
        unverified_before: Slots whose candles were not verified when it was scanned, those in doubt among them.
        due: Slots of both that are worth a request.
        suspects: Slots whose candles are in doubt and due.
        unverified: Slots whose candles are not verified, those that rest left out.
        changed: Those of them that held another, verified member.
        resting: Slots whose candles are not verified, and that wait for another answer.
        again_at: When slots that wait for another answer are worth a request again (ms UTC).
        to_audit: Slots with a candle that is to be asked for.
        asked: Slots of each answer of this pass.
        answered: Slots that a page of this pass has told of.
        reopened: Slots whose proof a page of others put in doubt.
        unresolved: Slots that are missing by now.
        confirmed: Slots that are confirmed to have no candle by now.
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
        """Keep a message, once."""
        self.errors = with_error(self.errors, error)

    def learn(self, slots: Interval, unresolved: Intervals, confirmed: Intervals) -> None:
        """Take how slots stand now; one that holds a candle is in neither set."""
        absent = self.missing_before | self.confirmed_before
        self.unresolved = (self.unresolved - slots) | (unresolved & absent)
        self.confirmed = (self.confirmed - slots) | (confirmed & absent)
        # Pages of one pass come in any order: a slot that one of them put in doubt stays so.
        self.unresolved |= self.confirmed & self.reopened
        self.confirmed -= self.reopened

    def note_verified(self, verified: Intervals, again_at: int | None) -> None:
        """Take which candles a page found verified, and when it is worth asking again."""
        self.newly_verified += (self.unverified & verified).size(self.step)
        self.unverified -= verified
        self.resting -= verified
        self.changed -= verified
        self.suspects = NOTHING
        self.again_at = min((at for at in (self.again_at, again_at) if at is not None), default=None)

    @property
    def slots(self) -> Interval:
        """The window, from slot to slot."""
        return self.window.slots(self.step)

    def filled_in(self, slots: Interval) -> Intervals:
        """Return the slots among these that hold a candle now and did not before."""
        if not (self.missing_before or self.confirmed_before):
            return NOTHING
        return ((self.missing_before | self.confirmed_before) - self.unresolved - self.confirmed) & slots

    @property
    def filled(self) -> int:
        """Number of slots that hold a candle now and did not before."""
        return self.filled_in(self.slots).size(self.step) if self.missing_before or self.confirmed_before else 0

    @property
    def proved(self) -> int:
        """Slots that are confirmed to have no candle now and were not before."""
        return (self.confirmed - self.confirmed_before).size(self.step) if self.confirmed else 0

    @property
    def gaps_filled(self) -> int:
        """How many gaps hold a candle in each slot now."""
        if not self.missing_before:
            return 0
        starts = [gap.start for gap in self.missing_before]
        open_ = self.missing_before & (self.unresolved | self.confirmed)
        return len(self.missing_before) - len({bisect_right(starts, one.start) for one in open_})

"""The mark of a backfill: how far it is verified, and the counts up to there."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from reconciler_engine.engine.backfill.reader import SlotCounts
from reconciler_engine.engine.tasks.messages import PageOutcome, intervals_of
from reconciler_engine.market.interval import NOTHING, Intervals
from reconciler_engine.market.result import ERRORS_KEPT, SeriesResult, with_error
from reconciler_engine.planning.pages import Page
from reconciler_engine.store.scoped import read_record

_Instant = Annotated[int, Field(ge=0, le=2**53)]
_Count = Annotated[int, Field(ge=0, le=2**53)]


class Mark(BaseModel):
    """Every slot from the range's start up to `verified_to` was read, and asked for where it was missing.

    Attributes:
        run: The run that verified it last; a run that goes on from here closes that one first.
        verified_to: First instant (ms UTC) that is not verified.
        missing: Slots that were missing when they were first read, but for those confirmed to have no candle.
        gaps: Maximal intervals of them, told apart by whether they were worth a request.
        open_gaps: Those of them of which a slot holds no candle still.
        filled: Slots that hold a candle now and did not before.
        confirmed_empty: Slots that are confirmed to have no candle, before or by now.
        unresolved: Slots that are missing still: the exchange was asked and gave nothing.
        mismatched: Slots of which the exchange gave other values than the cache holds.
        repaired: Those of them whose candle gave way.
        rewritten: Those of these that had been verified.
        newly_verified: Candles that were asked for, and are verified by that.
        duplicates: Extra members that shared a slot with another.
        malformed: Members that are not candles of the series.
        requests: Requests sent.
        references: Requests sent beside them for references.
        gap_end: Last slot (ms UTC) of the newest gap counted, or None.
        gap_open: Whether that gap is counted in `open_gaps`.
        errors: Failures, oldest first.
    """

    model_config = ConfigDict(extra="forbid")

    run: str
    verified_to: _Instant
    missing: _Count = 0
    gaps: _Count = 0
    open_gaps: _Count = 0
    filled: _Count = 0
    confirmed_empty: _Count = 0
    unresolved: _Count = 0
    mismatched: _Count = 0
    repaired: _Count = 0
    rewritten: _Count = 0
    newly_verified: _Count = 0
    duplicates: _Count = 0
    malformed: _Count = 0
    requests: _Count = 0
    references: _Count = 0
    gap_end: _Instant | None = None
    gap_open: bool = False
    errors: Annotated[tuple[str, ...], Field(max_length=ERRORS_KEPT)] = ()

    @classmethod
    def read(cls, text: bytes | None) -> Self | None:
        """Return the mark in a text from Redis, or None where there is none that can be understood."""
        return read_record(cls, text)

    @property
    def counts(self) -> SlotCounts:
        """Slots without a candle that were counted."""
        return SlotCounts(self.unresolved, self.confirmed_empty)

    def figures(self) -> dict[str, Any]:
        """Return the counts that a result has too, by its fields' names."""
        return self.model_dump(include={field.name for field in fields(SeriesResult)})

    def note(self, error: str | None) -> None:
        """Keep a message, once, if there is room."""
        self.errors = with_error(self.errors, error)

    def count_unasked(self, slots: int, *, is_confirmed: bool) -> None:
        """Count slots of an interval that are not asked for: confirmed ones, or a gap of its own."""
        if is_confirmed:
            self.confirmed_empty += slots
        else:
            self.missing += slots
            self.unresolved += slots
            self.gaps += 1
            self.open_gaps += 1

    def count_page(self, page: Page, outcome: PageOutcome, step: int, candles: Intervals = NOTHING) -> bool:
        """Count the outcome of a page, after those of older slots; return whether it could be asked for.

        Beside its missing slots it was asked for because of `candles`.
        """
        left, confirmed = page.wanted, NOTHING
        if outcome.unresolved is not None:
            left, confirmed = _left(page, outcome, step)
        absent = left | confirmed
        for interval in page.wanted:
            # An interval that goes on from the page before is one gap with it.
            if self.gap_end is None or interval.start != self.gap_end + step:
                self.gaps += 1
                self.gap_open = False
            self.gap_end = interval.stop - step
            if not self.gap_open and absent & interval:
                self.open_gaps += 1
                self.gap_open = True
        wanted = page.wanted.size(step)
        self.missing += wanted
        self.filled += wanted - absent.size(step)
        self.confirmed_empty += confirmed.size(step)
        self.unresolved += left.size(step)
        verified = candles & intervals_of(outcome.verified, step)
        self.newly_verified += verified.size(step)
        self._count_answer(outcome)
        return not (outcome.error and (left or verified != candles))

    def count_bridge(self, page: Page, outcome: PageOutcome, step: int) -> None:
        """Count the outcome of a page over slots that have been counted as unresolved."""
        if outcome.unresolved is not None:
            left, confirmed = _left(page, outcome, step)
            self.count_change(SlotCounts(left.size(step) - page.wanted.size(step), confirmed.size(step)))
        self._count_answer(outcome)

    def count_change(self, change: SlotCounts) -> None:
        """Count unresolved slots as settled by a change, and those not confirmed as filled; no slot counts twice."""
        settled = min(max(0, -change.unresolved), self.unresolved)
        confirmed = min(max(0, change.confirmed), settled)
        self.unresolved -= settled
        self.confirmed_empty += confirmed
        self.filled += settled - confirmed

    def _count_answer(self, outcome: PageOutcome) -> None:
        self.mismatched += outcome.mismatched
        self.repaired += outcome.repaired
        self.rewritten += outcome.rewritten
        self.requests += outcome.requests
        self.references += outcome.references
        self.note(outcome.error)
        self.note(outcome.fault)


def _left(page: Page, outcome: PageOutcome, step: int) -> tuple[Intervals, Intervals]:
    """Return the wanted slots that an outcome calls missing, and those it calls confirmed."""
    left, confirmed = intervals_of(outcome.unresolved or (), step), intervals_of(outcome.confirmed, step)
    return left & page.wanted, confirmed & page.wanted

"""The mark of a backfill: the instant up to which it is verified, and the counts up to there."""

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
    """Every slot from the range's start up to `verified_to` was read and, if it was missing, asked for.

    Attributes:
        run: The run that last moved the mark; a run that continues from here closes that one first.
        verified_to: First instant (ms UTC) that is not verified.
        missing: Slots found missing at the first read.
        gaps: Intervals of missing slots, cut where slots worth a request meet slots that are not.
        open_gaps: Gaps in which a slot is still without a candle.
        filled: Slots that gained a candle.
        confirmed_empty: Slots that are confirmed to have no candle.
        unresolved: Slots that are still missing after the answer of the exchange.
        mismatched: Candles that differed from the exchange's.
        repaired: Mismatched candles that were replaced.
        rewritten: Repaired candles that had been verified before.
        newly_verified: Candles that answers verified.
        duplicates: Extra members that shared a slot with another.
        malformed: Members that are not candles of the series.
        requests: Requests sent for pages.
        references: Requests sent for references.
        gap_end: Last slot (ms UTC) of the newest counted gap; None before the first.
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
        """Return the mark in a text from Redis; None if the text is missing or not a mark."""
        return read_record(cls, text)

    @property
    def counts(self) -> SlotCounts:
        """Numbers of counted slots without a candle."""
        return SlotCounts(self.unresolved, self.confirmed_empty)

    def figures(self) -> dict[str, Any]:
        """Return the counts that are also fields of a `SeriesResult`, by name."""
        return self.model_dump(include={field.name for field in fields(SeriesResult)})

    def note(self, error: str | None) -> None:
        """Add an error message, unless it is there already or the list is full; None adds nothing."""
        self.errors = with_error(self.errors, error)

    def count_unasked(self, slots: int, *, is_confirmed: bool) -> None:
        """Count an interval that is not asked for: as confirmed slots, or as a gap."""
        if is_confirmed:
            self.confirmed_empty += slots
        else:
            self.missing += slots
            self.unresolved += slots
            self.gaps += 1
            self.open_gaps += 1

    def count_page(self, page: Page, outcome: PageOutcome, step: int, candles: Intervals = NOTHING) -> bool:
        """Count the outcome of a page, after all older pages; return False if an error left slots undecided.

        The page asked for its missing slots and for `candles` to verify.
        """
        left, confirmed = page.wanted, NOTHING
        if outcome.unresolved is not None:
            left, confirmed = _left(page, outcome, step)
        absent = left | confirmed
        for interval in page.wanted:
            # An interval that continues the last one of the page before is the same gap.
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
        """Count the outcome of a page whose slots have been counted as unresolved."""
        if outcome.unresolved is not None:
            left, confirmed = _left(page, outcome, step)
            self.count_change(SlotCounts(left.size(step) - page.wanted.size(step), confirmed.size(step)))
        self._count_answer(outcome)

    def count_change(self, change: SlotCounts) -> None:
        """Count slots that are no longer unresolved: as confirmed up to the number in `change`, the rest as filled."""
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
    """Return the wanted slots that an outcome reports as missing, and those that it reports as confirmed."""
    left, confirmed = intervals_of(outcome.unresolved or (), step), intervals_of(outcome.confirmed, step)
    return left & page.wanted, confirmed & page.wanted

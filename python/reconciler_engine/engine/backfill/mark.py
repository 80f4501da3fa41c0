"""The mark of a backfill: how far it is verified, and what was counted up to there."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler_engine.market.result import ERRORS_KEPT, with_error

_Instant = Annotated[int, Field(ge=0, le=2**53)]
_Count = Annotated[int, Field(ge=0, le=2**53)]


class Mark(BaseModel):
    """Every slot from the range's start up to `verified_to` was read, and asked for where it was missing.

    Attributes:
        run: The run that verified it last; whoever goes on from here closes that run first.
        verified_to: First instant (ms UTC) that is not verified.
        missing: Slots that were missing when they were first read, but for those confirmed to have no candle.
        gaps: Maximal runs of them, told apart by whether they were worth a request.
        open_gaps: Those runs of which a slot holds no candle still.
        filled: Slots that hold a candle now and did not before.
        confirmed_empty: Slots that are confirmed to have no candle, before or by now.
        unresolved: Slots that are missing still: the exchange was asked and gave nothing.
        mismatched: Slots of which the exchange gave other values than the cache holds.
        repaired: Those of them whose candle gave way.
        duplicates: Extra members that shared a slot with another.
        malformed: Members that are no candle of the series.
        requests: Requests sent.
        gap_end: Last slot (ms UTC) of the newest run counted, or None.
        gap_open: Whether that run is counted in `open_gaps`.
        errors: What went wrong, oldest first.
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
    duplicates: _Count = 0
    malformed: _Count = 0
    requests: _Count = 0
    gap_end: _Instant | None = None
    gap_open: bool = False
    errors: Annotated[tuple[str, ...], Field(max_length=ERRORS_KEPT)] = ()

    @classmethod
    def read(cls, text: bytes | None) -> Self | None:
        """Return the mark in a text from Redis, or None where there is none that can be understood."""
        if text is None:
            return None
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def note(self, error: str | None) -> None:
        """Keep a message, once, if there is room."""
        self.errors = with_error(self.errors, error)

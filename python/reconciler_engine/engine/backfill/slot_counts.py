"""Slots without a candle, counted by how they stand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """Numbers of slots, or how such numbers changed.

    Attributes:
        unresolved: Slots that are missing.
        confirmed: Slots that are confirmed to have no candle.
    """

    unresolved: int = 0
    confirmed: int = 0

    def __add__(self, other: SlotCounts) -> SlotCounts:
        return SlotCounts(self.unresolved + other.unresolved, self.confirmed + other.confirmed)

    def __sub__(self, other: SlotCounts) -> SlotCounts:
        return SlotCounts(self.unresolved - other.unresolved, self.confirmed - other.confirmed)

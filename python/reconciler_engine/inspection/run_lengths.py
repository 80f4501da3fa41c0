"""Missing slots by the length of their runs: lost messages, an outage, and a hole of days need different cures."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

_FROM = (1, 2, 3, 6, 16, 61)
_NAMES = ("1", "2", "3-5", "6-15", "16-60", "61+")


def count_by_length(runs: Iterable[int]) -> dict[str, int]:
    """Return the number of slots in runs of each length, by its name; runs have one slot or more."""
    slots = dict.fromkeys(_NAMES, 0)
    for run in runs:
        slots[_NAMES[bisect_right(_FROM, run) - 1]] += run
    return slots

"""The definition of gap detection, in plain Python; every other implementation answers as this one."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from reconciler_engine.detection.gaps import Gaps, readonly
from reconciler_engine.detection.inputs import check_increasing, int64_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME = "pure"


def detect_regular(timestamps: object, expected: range, length: int, trusted: bool, threads: int, /) -> Gaps:
    """Find the gaps of a range; `trusted` and `threads` change nothing here."""
    del trusted, threads
    view = int64_view("timestamps", timestamps)
    present = (expected.index(instant) for instant in view if instant in expected)
    runs = list(_missing_runs(present, length))
    return Gaps(
        readonly(array("q", [expected[first] for first, _ in runs])),
        readonly(array("q", [count for _, count in runs])),
        # A single point has no neighbour, so its step says nothing; it may be any number.
        step=expected.step if length > 1 else 1,
    )


def detect_explicit(timestamps: object, expected: object) -> Gaps:
    """Find the gaps of a strictly increasing array."""
    grid = int64_view("expected", expected)
    view = int64_view("timestamps", timestamps)
    check_increasing(grid)
    position = {instant: index for index, instant in enumerate(grid)}
    present = (position[instant] for instant in view if instant in position)
    runs = list(_missing_runs(present, len(grid)))
    return Gaps(
        readonly(array("q", [grid[first] for first, _ in runs])),
        readonly(array("q", [count for _, count in runs])),
        ends=readonly(array("q", [grid[first + count - 1] for first, count in runs])),
    )


def _missing_runs(present: Iterable[int], length: int) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of every maximal run of the indices `0..length` that are not `present`.

    `present` comes in any order, repetitions allowed. O(n log n), and linear if it ascends.
    """
    following = 0
    for index in sorted(dict.fromkeys(present)):
        if index > following:
            yield following, index - following
        following = index + 1
    if following < length:
        yield following, length - following

"""The reference implementation of gap detection, in pure Python. The native one must give the same results."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from reconciler_engine.detection.gaps import Gaps, readonly
from reconciler_engine.detection.inputs import check_increasing, int64_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME = "pure"


def detect_regular(timestamps: object, expected: range, length: int, trusted: bool, threads: int, /) -> Gaps:
    """Find the gaps in a range; `trusted` and `threads` are ignored."""
    del trusted, threads
    view = int64_view("timestamps", timestamps)
    present = (expected.index(instant) for instant in view if instant in expected)
    runs = list(_missing_runs(present, length))
    return Gaps(
        readonly(array("q", [expected[first] for first, _ in runs])),
        readonly(array("q", [count for _, count in runs])),
        # With at most one point the step does not matter, and it may exceed int64.
        step=expected.step if length > 1 else 1,
    )


def detect_explicit(timestamps: object, expected: object) -> Gaps:
    """Find the gaps in a strictly increasing array."""
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
    """Yield (first, count) of every maximal run of indices in `0 <= i < length` that are not in `present`.

    `present` may be in any order and have duplicates. Takes O(n log n), and linear time if `present` ascends.
    """
    following = 0
    for index in sorted(dict.fromkeys(present)):
        if index > following:
            yield following, index - following
        following = index + 1
    if following < length:
        yield following, length - following

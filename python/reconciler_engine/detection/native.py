"""Gap detection by the native module. Imported only if that module was built."""

from __future__ import annotations

from reconciler_engine import _native
from reconciler_engine.detection.gaps import Gaps
from reconciler_engine.detection.inputs import check_increasing, int64_view, is_masked

NAME = "native"


def detect_regular(timestamps: object, expected: range, length: int, trusted: bool, threads: int, /) -> Gaps:
    """Find the gaps in a range; `trusted` promises sorted, unique timestamps in the grid."""
    # With at most one point the step does not matter, and it may exceed int64.
    step = expected.step if length > 1 else 1
    start = expected.start if length else 0
    if is_masked(timestamps):
        timestamps = int64_view("timestamps", timestamps)
    columns = _native.detect_gaps(timestamps, start, step, length, trusted, threads)
    if columns is None:
        columns = _native.detect_gaps(int64_view("timestamps", timestamps), start, step, length, trusted, threads)
    if columns is None:
        raise AssertionError("the native module refused an int64 view")
    starts, counts, missing = columns
    return Gaps(starts, counts, step, None, missing)


def detect_explicit(timestamps: object, expected: object) -> Gaps:
    """Find the gaps in a strictly increasing array."""
    if is_masked(timestamps) or is_masked(expected):
        expected, timestamps = int64_view("expected", expected), int64_view("timestamps", timestamps)
    columns = _native.detect_gaps_explicit(timestamps, expected)
    if columns is None:
        grid = int64_view("expected", expected)
        view = int64_view("timestamps", timestamps)
        columns = _native.detect_gaps_explicit(view, grid)
        if columns is None:
            check_increasing(grid)
            raise AssertionError("the native module refused an increasing int64 view")
    starts, ends, counts = columns
    return Gaps(starts, counts, None, ends)

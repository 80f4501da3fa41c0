"""The public function `detect_gaps`, on top of the native or the pure implementation."""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Protocol

from reconciler_engine.detection.implementation import IMPLEMENTATION
from reconciler_engine.detection.inputs import range_length

if TYPE_CHECKING:
    from reconciler_engine.detection.gaps import Gaps


class Detector(Protocol):
    """Interface of an implementation. Inputs and errors are those of `detect_gaps`."""

    NAME: str

    def detect_regular(self, timestamps: object, expected: range, length: int, trusted: bool, threads: int, /) -> Gaps:
        """Find the gaps in a range; `length` is the result of `range_length`."""

    def detect_explicit(self, timestamps: object, expected: object) -> Gaps:
        """Find the gaps in a strictly increasing array."""


if IMPLEMENTATION == "native":
    from reconciler_engine.detection import native

    _DETECTOR: Detector = native
else:
    from reconciler_engine.detection import pure

    _DETECTOR = pure


def detect_gaps(timestamps: object, expected: object, *, trusted: bool = False, threads: int = 1) -> Gaps:
    """Find the maximal runs of expected open times that are missing from the timestamps.

    Args:
        timestamps: Open times that are present (ms UTC), in any order. Duplicates, and values that are not in the grid,
            NaT of `datetime64[ms]` among them, are ignored. One-dimensional contiguous int64 buffers (NumPy,
            `array('q')`, memoryview), NumPy `datetime64[ms]`, Series of pandas and polars, and Arrow arrays of int64 or
            timestamp[ms] are read in place; a list or another iterable of int is copied. If another thread writes to
            the memory meanwhile, the result is unspecified.
        expected: The grid: an ascending `range` (the fast case), or strictly increasing int64 values of the types
            above.
        trusted: Promise that `timestamps` are sorted, unique and all in the grid, which must be a range. The search
            then skips complete parts. If the promise is broken, the result is wrong.
        threads: Most threads to use; 0 for as many as help. Sorted input of more than four million values is split
            between them if the grid is a range. The result is the same, and all threads end before this returns.

    Returns:
        The gaps in ascending order; `Gap.end` is the last missing open time.

    Raises:
        TypeError: An argument is of another type; the message names the conversion.
        ValueError: `expected` does not ascend, has more than 2**63 - 1 points or exceeds int64; an integer of a list
            exceeds int64; a value is null or masked; `trusted` is set without a range; `threads` is negative. The
            message contains the index and the value, if there is one.
    """
    # A shortcut that saves one call, which is measurable in scans of thousands of series.
    if threads == 1 and isinstance(expected, range):
        return _DETECTOR.detect_regular(timestamps, expected, range_length(expected), trusted, 1)
    return detect_gaps_by(_DETECTOR, timestamps, expected, trusted=trusted, threads=threads)


def detect_gaps_by(
    detector: Detector, timestamps: object, expected: object, *, trusted: bool, threads: int = 1
) -> Gaps:
    """Find the gaps with the given implementation; see `detect_gaps`."""
    if not hasattr(type(threads), "__index__"):
        raise TypeError(
            f"threads is {type(threads).__name__}; it must be int: 0 for as many as help, or the most to use"
        )
    if (threads := operator.index(threads)) < 0:
        raise ValueError(f"threads is {threads}; it must be 0 (as many as help) or more")
    if isinstance(expected, range):
        most = min(threads, sys.maxsize)
        return detector.detect_regular(timestamps, expected, range_length(expected), trusted, most)
    if trusted:
        raise ValueError("trusted=True needs expected as a range; it is " + type(expected).__name__)
    return detector.detect_explicit(timestamps, expected)

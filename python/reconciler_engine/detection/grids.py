"""Checks of grids of expected open times."""

from __future__ import annotations

from reconciler_engine.detection.inputs import INT64_MAX, INT64_MIN


def range_length(expected: range) -> int:
    """Return the number of instants of an ascending range of int64 instants.

    Raises:
        ValueError: The step is negative, an instant is not an int64 value, or there are more than 2**63 - 1.
    """
    if expected.step < 0:
        raise ValueError(f"expected is {expected!r}; its step must be positive: use expected[::-1]")
    try:
        length = len(expected)
    except OverflowError:
        length = -1
    if length and (expected.start < INT64_MIN or expected[-1] > INT64_MAX):
        raise ValueError(f"expected is {expected!r}; its instants must be int64 values (ms)")
    if length < 0:
        raise ValueError(f"expected is {expected!r}; it must not have more than 2**63 - 1 points")
    return length


def check_increasing(expected: memoryview[int]) -> None:
    """Accept strictly increasing instants.

    Raises:
        ValueError: An instant is not above its predecessor; the message has the index of the first.
    """
    for index in range(1, len(expected)):
        if expected[index] <= expected[index - 1]:
            raise ValueError(
                f"expected[{index}] is {expected[index]} after {expected[index - 1]}; it must be strictly "
                "increasing: sort it and drop duplicates"
            )

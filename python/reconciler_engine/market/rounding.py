"""Integer division and multiples that round up, where `//` rounds down."""

from __future__ import annotations


def ceil_div(number: int, divisor: int) -> int:
    """Return `number / divisor`, rounded up to a whole number."""
    return -(-number // divisor)


def ceil_to(number: int, step: int) -> int:
    """Return the smallest multiple of `step` that is at least `number`."""
    return -(-number // step) * step

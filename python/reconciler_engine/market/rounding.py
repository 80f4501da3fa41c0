"""Whole numbers rounded up: `//` rounds down."""

from __future__ import annotations


def ceil_div(number: int, divisor: int) -> int:
    """Return `number / divisor` as the next whole number up."""
    return -(-number // divisor)


def ceil_to(number: int, step: int) -> int:
    """Return the first multiple of `step` that is not below `number`."""
    return -(-number // step) * step

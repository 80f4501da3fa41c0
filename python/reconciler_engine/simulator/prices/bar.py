"""Bars as the exchange keeps them, with values as decimal text."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple


class Bar(NamedTuple):
    """One bar; `start` in ms UTC, every value the text that goes over the wire."""

    start: int
    open: str
    high: str
    low: str
    close: str
    volume: str

    def write_row(self) -> str:
        """Return the bar as the JSON object of a candle answer (its start is in seconds)."""
        return (
            f'{{"start":"{self.start // 1000}","low":"{self.low}","high":"{self.high}",'
            f'"open":"{self.open}","close":"{self.close}","volume":"{self.volume}"}}'
        )


def fold(start: int, bars: Sequence[Bar]) -> Bar:
    """Return the bar that opens at `start` and is made of `bars`, oldest first, at least one.

    Prices keep their text; the volume is the exact decimal sum.
    """
    return Bar(
        start,
        bars[0].open,
        max((bar.high for bar in bars), key=float),
        min((bar.low for bar in bars), key=float),
        bars[-1].close,
        format(sum((Decimal(bar.volume) for bar in bars), Decimal()), "f"),
    )

"""Bars as the exchange keeps them, with values as decimal text, and the market that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct


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


class Market(Protocol):
    """All bars that exist, at any instant.

    A bar without trades does not exist. Asking is cheap for any interval and needs nothing asked before.
    """

    @property
    def products(self) -> Mapping[str, ListedProduct]:
        """Products by id, in listing order."""

    def bars(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[Bar]:
        """Return the bars with an open time in `interval`, as they stand at `now`, oldest first.

        The bar that is still open comes last, if it has trades already and this market knows its values by now.

        Raises:
            KeyError: No product has this name.
        """

    def rows(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[str]:
        """Return the same bars, each as `Bar.write_row` writes it."""

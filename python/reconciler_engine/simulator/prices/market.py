"""Bars of the exchange, with values as decimal text, and the protocol of a market that returns them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct


class Bar(NamedTuple):
    """One bar; `start` in ms UTC, prices and volume as the text that answers contain."""

    start: int
    open: str
    high: str
    low: str
    close: str
    volume: str

    def write_row(self) -> str:
        """Return the bar as JSON, as candle answers contain it; `start` is in seconds there."""
        return (
            f'{{"start":"{self.start // 1000}","low":"{self.low}","high":"{self.high}",'
            f'"open":"{self.open}","close":"{self.close}","volume":"{self.volume}"}}'
        )


def fold(start: int, bars: Sequence[Bar]) -> Bar:
    """Return the bar that opens at `start` and consists of `bars` (at least one, oldest first).

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
    """All bars that exist, as they stand at any instant.

    A bar without trades does not exist. Intervals may be read in any order, at a similar cost.
    """

    @property
    def products(self) -> Mapping[str, ListedProduct]:
        """Products by id, in listing order."""

    def bars(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[Bar]:
        """Return the bars with an open time in `interval`, as they stand at `now`, oldest first.

        The still open bar comes last, if it has trades and the market knows unfinished bars.

        Raises:
            KeyError: No product has this name.
        """

    def rows(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[str]:
        """Return the result of `bars` as JSON, each bar in the form of `Bar.write_row`."""

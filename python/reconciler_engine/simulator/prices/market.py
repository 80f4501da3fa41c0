"""The market behind an exchange front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.bar import Bar
from reconciler_engine.simulator.prices.listed_products import ListedProduct


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

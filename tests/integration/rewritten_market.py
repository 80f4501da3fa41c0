"""A market whose exchange changes bars that it has shown before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.market import Bar, Market


@dataclass(frozen=True)
class RewrittenMarket:
    """A market, but with other volumes where bars were rewritten: by product, timeframe, open time (ms UTC)."""

    market: Market
    rewritten: dict[tuple[str, Timeframe, int], str] = field(default_factory=dict)

    @property
    def products(self) -> Mapping[str, ListedProduct]:
        return self.market.products

    def bars(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[Bar]:
        return [
            bar._replace(volume=self.rewritten.get((symbol, timeframe, bar.start), bar.volume))
            for bar in self.market.bars(symbol, timeframe, interval, now)
        ]

    def rows(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[str]:
        return [bar.write_row() for bar in self.bars(symbol, timeframe, interval, now)]

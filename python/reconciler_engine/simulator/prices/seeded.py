"""A market computed from a seed: bars for any instant, consistent across timeframes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.book import STEPS_S, Book, Span
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.market import Bar
from reconciler_engine.simulator.prices.subdivision import Lump, fold_lumps

# 4h and 6h bars are folded from 2h bars, because 6 hours are not a multiple of 4.
_FOLDED = {Timeframe.H4: (1, 2), Timeframe.H6: (1, 3)}
_LEVELS = {
    timeframe: _FOLDED.get(timeframe) or (STEPS_S.index(timeframe.step_ms // 1000), 1) for timeframe in Timeframe
}
# Below this price, `%g` would write a price with an exponent.
_LEAST_SHORT_PRICE = 0.01
_FOR_EVER_S = 1 << 50


class SeededMarket:
    """A market with bars computed from a seed.

    The same seed, products and halts give the same bars in every process.

    Args:
        seed: Seed of prices and trades.
        products: Products that trade. An alias must name one of them.
        halts: Spans without trades of any product (ms UTC, cut to whole seconds).

    Raises:
        ValueError: Two products have the same symbol, or an alias names an unknown product or another alias.
    """

    def __init__(self, seed: int, products: Iterable[ListedProduct], halts: Sequence[Interval] = ()) -> None:
        listed: dict[str, ListedProduct] = {}
        for product in products:
            if product.symbol in listed:
                raise ValueError(f"product {product.symbol} is listed twice")
            listed[product.symbol] = product
        self._products = MappingProxyType(listed)
        self._books: dict[str, Book] = {}
        for product in listed.values():
            owner = listed.get(product.alias_of or product.symbol)
            if owner is None or owner.alias_of is not None:
                raise ValueError(f"product {product.symbol}: alias of {product.alias_of!r}, unlisted or an alias")
            self._books[product.symbol] = self._books.get(owner.symbol) or Book(seed, owner)
        self._halts = [(halt.start // 1000, halt.stop // 1000) for halt in halts]

    @property
    def products(self) -> Mapping[str, ListedProduct]:
        """Products by id, in listing order."""
        return self._products

    def bars(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[Bar]:
        """Return the bars with an open time in `interval`, as they stand at `now`, oldest first.

        The still open bar contains the trades up to the last whole second.

        Raises:
            KeyError: No product has this name.
        """
        book = self._books[symbol]
        price = _price_format(book.product)
        template = f"{price} {price} {price} {price} %.15g"
        ticks, lots = 10**book.product.price_decimals, 10**book.product.volume_decimals
        return [
            Bar(
                start_s * 1000,
                *(template % (first / ticks, high / ticks, low / ticks, last / ticks, volume / lots)).split(" "),
            )
            for start_s, (first, high, low, last, volume, _) in self._traded(book, timeframe, interval, now)
        ]

    def rows(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[str]:
        """Return the result of `bars` as JSON, each bar in the form of `Bar.write_row`."""
        # One formatting operation a row instead of six: formatting takes most of a page's time.
        book = self._books[symbol]
        price = _price_format(book.product)
        template = (
            f'{{"start":"%d","low":"{price}","high":"{price}","open":"{price}","close":"{price}","volume":"%.15g"}}'
        )
        ticks, lots = 10**book.product.price_decimals, 10**book.product.volume_decimals
        return [
            template % (start_s, low / ticks, high / ticks, first / ticks, last / ticks, volume / lots)
            for start_s, (first, high, low, last, volume, _) in self._traded(book, timeframe, interval, now)
        ]

    def _traded(self, book: Book, timeframe: Timeframe, interval: Interval, now: int) -> Iterator[tuple[int, Lump]]:
        """Yield the open time (seconds UTC) and the bar of each slot with trades, oldest first."""
        grid = interval.grid(timeframe.step_ms)
        if not grid:
            return
        level, factor = _LEVELS[timeframe]
        short = STEPS_S[level]
        step = short * factor
        start_s, stop_s = grid[0] // 1000, grid[-1] // 1000 + step
        if start_s * 1000 >= now:
            return
        spans = [span for span in self._closed_spans(book.product, now) if span[0] < stop_s and start_s < span[1]]
        # Do not compute bars that lie wholly in the future.
        stop_s = min(stop_s, ceil_div(now, step * 1000) * step)
        lumps = book.lumps(level, start_s, stop_s)
        if spans:
            lumps = [
                book.clip(level, slot_s, lump, spans)
                for slot_s, lump in zip(range(start_s, stop_s, short), lumps, strict=True)
            ]
        if factor > 1:
            groups = [
                [part for part in lumps[i : i + factor] if part is not None] for i in range(0, len(lumps), factor)
            ]
            lumps = [fold_lumps(group) if group else None for group in groups]
        for slot_s, lump in zip(range(start_s, stop_s, step), lumps, strict=True):
            if lump is not None:
                yield slot_s, lump

    def _closed_spans(self, product: ListedProduct, now: int) -> list[Span]:
        """Return the spans without trades of the product: halts, before its listing, after its delisting or `now`."""
        spans = [*self._halts, (now // 1000, _FOR_EVER_S)]
        if product.listed is not None:
            spans.append((-_FOR_EVER_S, product.listed // 1000))
        if product.delisted is not None:
            spans.append((product.delisted // 1000, _FOR_EVER_S))
        return spans


def _price_format(product: ListedProduct) -> str:
    """Return the format of the product's prices: the shortest, or, for low prices, one without an exponent."""
    return "%.15g" if product.price >= _LEAST_SHORT_PRICE else f"%.{product.price_decimals}f"

"""A market read from candle files: slots without a candle in the files had no trades."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from reconciler_engine.archive.candle_file import CandleFile, read_candle_file
from reconciler_engine.archive.naming import parse_file_name
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct, ProductType
from reconciler_engine.simulator.prices.market import Bar, fold


@dataclass(slots=True)
class _Column:
    """Bars of one series, ascending."""

    starts: array[int] = field(default_factory=lambda: array("q"))
    texts: list[str] = field(default_factory=list)

    def bars(self, interval: Interval) -> list[Bar]:
        first = bisect_left(self.starts, interval.start)
        stop = bisect_left(self.starts, interval.stop, lo=first)
        return [
            Bar(start, *text.split(","))
            for start, text in zip(self.starts[first:stop], self.texts[first:stop], strict=True)
        ]


class ReplayMarket:
    """A market read from candle files.

    Bars of a timeframe without a file are folded from the longest shorter timeframe with one, at the first request;
    without a shorter one there are no bars. A bar appears at its close, because files hold only closed bars. Where two
    files of a series differ about a bar, the file whose name sorts first wins. Memory use is the size of the files'
    text.

    Attributes:
        end: First instant (ms UTC) after the last bar of all files.
    """

    def __init__(self, columns: Mapping[Series, _Column]) -> None:
        self._columns = dict(columns)
        self._folded: dict[Series, _Column] = {}
        self._products = MappingProxyType(
            {symbol: _describe(symbol, self._last_text(symbol)) for symbol in sorted({s.symbol for s in columns})}
        )
        self.end = max(
            (column.starts[-1] + series.timeframe.step_ms for series, column in columns.items() if column.starts),
            default=0,
        )

    @classmethod
    def read(cls, folder: Path) -> ReplayMarket:
        """Read every `SYMBOL_TIMEFRAME_*.csv[.gz]` (or `SYMBOL_TIMEFRAME.csv[.gz]`) of a folder.

        Raises:
            ConfigError: The folder cannot be listed or has no such file, or a product's last price is out of range.
            CandleFileError: A file is unusable; lists the mistakes of the first such file.
        """
        try:
            paths = sorted(path for path in folder.iterdir() if path.name.endswith((".csv", ".csv.gz")))
        except OSError as error:
            raise ConfigError([f"replay {str(folder)!r} cannot be listed: {error.strerror}"]) from error
        columns: dict[Series, _Column] = {}
        for path in paths:
            try:
                series = parse_file_name(path)
            except ValueError:
                continue
            file = read_candle_file(path, series=series, on_grid=True)
            columns[series] = _merge(columns.get(series, _Column()), file)
        if not columns:
            raise ConfigError([f"replay {str(folder)!r} holds no candle file; allowed: SYMBOL_TIMEFRAME_....csv[.gz]"])
        try:
            return cls(columns)
        except ValueError as error:
            allowed = "allowed: a last close above 0 and below 1e12"
            raise ConfigError([f"replay {str(folder)!r}: {error}; {allowed}"]) from error

    @property
    def products(self) -> Mapping[str, ListedProduct]:
        """Products by id, in alphabetical order."""
        return self._products

    def bars(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[Bar]:
        """Return the bars with an open time in `interval` that have closed by `now`, oldest first.

        Raises:
            KeyError: No file holds this product.
        """
        product = self._products[symbol]
        stop = min(interval.stop, timeframe.floor(now))
        if stop <= interval.start:
            return []
        return self._column(product.symbol, timeframe).bars(Interval(interval.start, stop))

    def rows(self, symbol: str, timeframe: Timeframe, interval: Interval, now: int) -> list[str]:
        """Return the result of `bars` as JSON, each bar in the form of `Bar.write_row`."""
        return [bar.write_row() for bar in self.bars(symbol, timeframe, interval, now)]

    def _column(self, symbol: str, timeframe: Timeframe) -> _Column:
        series = Series(symbol, timeframe)
        column = self._columns.get(series) or self._folded.get(series)
        if column is None:
            column = self._folded[series] = self._fold(symbol, timeframe)
        return column

    def _fold(self, symbol: str, timeframe: Timeframe) -> _Column:
        shorter = [
            other
            for other in Timeframe
            if other.step_ms < timeframe.step_ms
            and timeframe.step_ms % other.step_ms == 0
            and Series(symbol, other) in self._columns
        ]
        column = _Column()
        if shorter:
            source = self._columns[Series(symbol, max(shorter, key=lambda other: other.step_ms))]
            everything = source.bars(Interval(0, 1 << 60))
            for start, parts in groupby(everything, key=lambda bar: timeframe.floor(bar.start)):
                column.starts.append(start)
                column.texts.append(",".join(fold(start, list(parts))[1:]))
        return column

    def _last_text(self, symbol: str) -> str:
        """Return the values of the product's latest bar; of bars with the same open time, the shortest."""
        latest = max(
            (
                (column.starts[-1], -series.timeframe.step_ms, column.texts[-1])
                for series, column in self._columns.items()
                if series.symbol == symbol and column.starts
            ),
            default=(0, 0, "1,1,1,1,0"),
        )
        return latest[2]


def _merge(known: _Column, file: CandleFile) -> _Column:
    """Return the bars of both; where both have a bar, that of `known`."""
    if not known.starts:
        return _Column(file.starts, file.texts)
    texts = dict(zip(file.starts, file.texts, strict=True))
    texts.update(zip(known.starts, known.texts, strict=True))
    starts = array("q", sorted(texts))
    return _Column(starts, [texts[start] for start in starts])


def _describe(symbol: str, last: str) -> ListedProduct:
    """Return the product for the product list, with the last close in its files as its price."""
    close = last.split(",")[3]
    decimals = len(close.partition(".")[2])
    # Symbols of futures have three parts, such as BIP-20DEC30-CDE.
    kind: ProductType = "FUTURE" if symbol.count("-") > 1 else "SPOT"
    return ListedProduct(
        symbol, price=float(close), price_decimals=min(decimals, 8), volume_decimals=8, product_type=kind
    )

"""Finds the series of a file: from the user, from a folder such as `symbol=BTC-USD`, from columns, or from its name."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from reconciler_engine.archive.column_names import matches
from reconciler_engine.archive.hints import Hints
from reconciler_engine.market.series import Series, check_symbol
from reconciler_engine.market.timeframe import Timeframe

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".arrow", ".feather", ".ipc")
"""Suffixes of candle files; suffixes of text files may be followed by `.gz`."""

# No quote currency here ends in another one, so a joined name such as BTCUSD can be split in one way only.
_JOINED = re.compile(r"([A-Z0-9]{2,10})(USD|USDC|USDT|EUR|GBP|BTC|ETH)")
_EXCHANGE = {"coinbase", "gdax"}


def spell_symbol(text: str) -> str:
    """Return the product id of a text such as `BTC-USD`, `BTC/USD`, `BTC_USD` or `BTCUSD`.

    Raises:
        ValueError: The text has another form.
    """
    joined = _JOINED.fullmatch(text)
    return check_symbol("-".join(joined.groups()) if joined else text.replace("/", "-").replace("_", "-"))


def spell_timeframe(text: str) -> Timeframe:
    """Return the timeframe of a text such as `5m` or `FIVE_MINUTE`.

    Raises:
        ValueError: The text is not a timeframe.
    """
    granular = next((one for one in Timeframe if one.granularity == text), None)
    return granular or Timeframe.parse(text)


def parse_file_name(path: Path, symbol: str | None = None, timeframe: Timeframe | None = None) -> Series:
    """Return the series of a file named `[Coinbase_]SYMBOL_TIMEFRAME[_ANYTHING].csv[.gz]`.

    A given `symbol` or `timeframe` overrides the part in the name.

    Raises:
        ValueError: The name lacks a part that is not given, or the part is not a product id or a timeframe.
    """
    parts = _parts(path)
    if symbol is None or timeframe is None:
        if len(parts) < 2:  # noqa: PLR2004 - a symbol and a timeframe
            raise ValueError(
                f"file name {path.name!r} does not say its series; allowed: SYMBOL_TIMEFRAME_....csv.gz, "
                "or the flags --symbol and --timeframe"
            )
        try:
            symbol = spell_symbol(parts[0]) if symbol is None else symbol
            timeframe = spell_timeframe(parts[1]) if timeframe is None else timeframe
        except ValueError as problem:
            raise ValueError(f"file name {path.name!r}: {problem}") from problem
    return Series(symbol, timeframe)


@dataclass(frozen=True, slots=True)
class Naming:
    """The series of a file's rows, as far as it is known before the file is read.

    Attributes:
        symbol: Product id; None if it must come from a column.
        timeframe: Timeframe; None if it must come from a column.
        fault: Why symbol or timeframe is unknown; empty if both are known.
    """

    symbol: str | None
    timeframe: Timeframe | None
    fault: str = ""

    @classmethod
    def of(cls, path: Path, hints: Hints) -> Naming:
        """Return the naming of a file: hints override folder names, and these override the file's name."""
        try:
            symbol, timeframe = _from_folders(path)
            symbol, timeframe = hints.symbol or symbol, hints.timeframe or timeframe
        except ValueError as problem:
            return cls(hints.symbol, hints.timeframe, str(problem))
        try:
            series = parse_file_name(path, symbol, timeframe)
        except ValueError as problem:
            parts = _parts(path)
            with suppress(ValueError):
                symbol = symbol or spell_symbol(parts[0])
            with suppress(ValueError, IndexError):
                timeframe = timeframe or spell_timeframe(parts[1])
            return cls(symbol, timeframe, str(problem))
        return cls(series.symbol, series.timeframe)

    def lacks(self, kinds: Collection[str]) -> bool:
        """Return whether symbol or timeframe remains unknown in a file with columns of these kinds."""
        return (self.symbol is None and "symbol" not in kinds) or (self.timeframe is None and "timeframe" not in kinds)

    def series(self, symbol: str = "", timeframe: str = "") -> Series:
        """Return the series of a row, from its cells `symbol` and `timeframe` (empty if the file has no such column).

        Raises:
            ValueError: The cells do not name a series, or contradict the user, a folder or the file's name.
        """
        named = spell_symbol(symbol) if symbol else self.symbol
        frame = spell_timeframe(timeframe) if timeframe else self.timeframe
        if named is None or frame is None:
            raise ValueError(self.fault)
        if (self.symbol or named, self.timeframe or frame) != (named, frame):
            told = " and ".join(str(one) for one in (self.symbol, self.timeframe) if one is not None)
            raise ValueError(f"is {named}:{frame}, but the file's name, a folder or a flag says {told}")
        return Series(named, frame)


def _parts(path: Path) -> list[str]:
    stem = path.name.removesuffix(".gz")
    stem = next((stem.removesuffix(suffix) for suffix in SUFFIXES if stem.endswith(suffix)), stem)
    parts = stem.split("_")
    return parts[1:] if parts[0].lower() in _EXCHANGE else parts


def _from_folders(path: Path) -> tuple[str | None, Timeframe | None]:
    """Return symbol and timeframe from folder names such as `symbol=BTC-USD` and `timeframe=5m`."""
    symbol = timeframe = None
    for part in path.parts[:-1]:
        key, equals, value = part.partition("=")
        try:
            if equals and matches("symbol", key):
                symbol = spell_symbol(unquote(value))
            elif equals and matches("timeframe", key):
                timeframe = spell_timeframe(unquote(value))
        except ValueError as problem:
            raise ValueError(f"folder {part!r}: {problem}") from problem
    return symbol, timeframe

"""A series: the candles of one product in one timeframe."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler_engine.market.timeframe import Timeframe

_SYMBOL = re.compile(r"[A-Z0-9]+(-[A-Z0-9.]+){1,3}")
_SYMBOL_LIMIT = 64


def check_symbol(symbol: str) -> str:
    """Return `symbol` if it is a product id such as `BTC-USD` or `BIP-20DEC30-CDE`.

    The whole text is checked, because product ids become part of URL paths and of cache keys.

    Raises:
        ValueError: It is not a product id; the message names the value and the form.
    """
    if len(symbol) > _SYMBOL_LIMIT or _SYMBOL.fullmatch(symbol) is None:
        raise ValueError(
            f"symbol {symbol[: _SYMBOL_LIMIT + 1]!r} is not a product id; allowed: capitals and digits in 2 to 4 "
            f"parts joined by '-', at most {_SYMBOL_LIMIT} characters, such as BTC-USD"
        )
    return symbol


@dataclass(frozen=True, slots=True)
class Series:
    """One product in one timeframe; `str()` gives `BTC-USD:5m`."""

    symbol: str
    timeframe: Timeframe

    def __post_init__(self) -> None:
        check_symbol(self.symbol)

    @classmethod
    def parse(cls, text: str) -> Series:
        """Return the series written as `SYMBOL:TIMEFRAME`.

        Raises:
            ValueError: The symbol is not a product id, or the timeframe is not supported.
        """
        symbol, _, timeframe = text.partition(":")
        return cls(symbol, Timeframe.parse(timeframe))

    @classmethod
    def named(cls, name: str) -> Series | None:
        """Return the series of a name read from Redis, or None if the name is not valid."""
        try:
            return cls.parse(name)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.symbol}:{self.timeframe.value}"

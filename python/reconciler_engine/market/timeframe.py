"""The bar lengths a series can have, under the cache's names and the exchange's."""

from __future__ import annotations

from enum import Enum
from typing import Self

_MINUTE_MS = 60_000


class Timeframe(Enum):
    """A supported bar length; the value is its name in cache keys.

    Grids are multiples of the step since the Unix epoch, so 4h, 6h and 1d bars open on UTC hours and daylight
    saving never matters. Coinbase's enum names: Get Product Candles, read 2026-11-23.

    Attributes:
        step_ms: Length of a bar in milliseconds.
        granularity: Coinbase's name for this bar length.
    """

    M1 = "1m", 1, "ONE_MINUTE"
    M5 = "5m", 5, "FIVE_MINUTE"
    M15 = "15m", 15, "FIFTEEN_MINUTE"
    M30 = "30m", 30, "THIRTY_MINUTE"
    H1 = "1h", 60, "ONE_HOUR"
    H2 = "2h", 120, "TWO_HOUR"
    H4 = "4h", 240, "FOUR_HOUR"
    H6 = "6h", 360, "SIX_HOUR"
    D1 = "1d", 1440, "ONE_DAY"

    _value_: str
    step_ms: int
    granularity: str

    def __new__(cls, name: str, minutes: int = 0, granularity: str = "") -> Self:
        """Make a member from its row above."""
        made = object.__new__(cls)
        made._value_ = name
        # Asked for so often that a property is felt in passes over thousands of series.
        made.step_ms, made.granularity = minutes * _MINUTE_MS, granularity
        return made

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return the timeframe called `name`.

        Raises:
            ValueError: No timeframe has that name; the message lists those that exist.
        """
        try:
            return cls(name)
        except ValueError:
            allowed = ", ".join(member.value for member in cls)
            raise ValueError(f"timeframe {name!r} is not supported; allowed: {allowed}") from None

    def floor(self, instant: int) -> int:
        """Return the open time of the bar that contains `instant` (ms UTC)."""
        return instant - instant % self.step_ms

    def __str__(self) -> str:
        return str(self.value)

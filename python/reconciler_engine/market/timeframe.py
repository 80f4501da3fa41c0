"""The supported bar lengths, with their names in the cache and at the exchange."""

from __future__ import annotations

from enum import Enum
from typing import Self

_MINUTE_MS = 60_000


class Timeframe(Enum):
    """A supported bar length; the enum value is its name in cache keys.

    Bars open at multiples of their length since the Unix epoch, so daylight saving time does not affect them.
    Coinbase's names: Get Product Candles, read 2026-11-23.

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
        """Make a member from its tuple."""
        made = object.__new__(cls)
        made._value_ = name
        # Plain attributes, since properties would slow down passes over thousands of series.
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

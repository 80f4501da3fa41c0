"""The bar lengths a series can have, under the cache's names and the exchange's."""

from __future__ import annotations

from enum import Enum
from typing import Self

_MINUTE_MS = 60_000
_STEPS_MS = {
    "1m": _MINUTE_MS,
    "5m": 5 * _MINUTE_MS,
    "15m": 15 * _MINUTE_MS,
    "30m": 30 * _MINUTE_MS,
    "1h": 60 * _MINUTE_MS,
    "2h": 120 * _MINUTE_MS,
    "4h": 240 * _MINUTE_MS,
    "6h": 360 * _MINUTE_MS,
    "1d": 1440 * _MINUTE_MS,
}
_GRANULARITIES = {
    "1m": "ONE_MINUTE",
    "5m": "FIVE_MINUTE",
    "15m": "FIFTEEN_MINUTE",
    "30m": "THIRTY_MINUTE",
    "1h": "ONE_HOUR",
    "2h": "TWO_HOUR",
    "4h": "FOUR_HOUR",
    "6h": "SIX_HOUR",
    "1d": "ONE_DAY",
}


class Timeframe(Enum):
    """A supported bar length; the value is its name in cache keys.

    Grids are multiples of the step since the Unix epoch, so 4h, 6h and 1d bars open on UTC hours and daylight
    saving never matters. Coinbase's enum names: Get Product Candles, read 2026-11-23.

    Attributes:
        step_ms: Length of a bar in milliseconds.
        granularity: Coinbase's name for this bar length.
    """

    step_ms: int
    granularity: str

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    D1 = "1d"

    def __init__(self, name: str) -> None:
        # Asked for so often that a property is felt in passes over thousands of series.
        self.step_ms, self.granularity = _STEPS_MS[name], _GRANULARITIES[name]

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

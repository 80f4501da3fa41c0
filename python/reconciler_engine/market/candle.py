"""The candle: one bar of a series."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar. Prices are in units of the quote currency, the volume in units of the base currency.

    Attributes:
        timestamp: Open time (ms UTC).
        open: First price.
        high: Highest price.
        low: Lowest price.
        close: Last price.
        volume: Traded amount. The exchange has no bars of volume 0, but other sources may.
        sequence_num: Sequence number on the websocket connection, for live bars only; else None.

    Raises:
        ValueError: A value is not a finite number, a price is not above 0, the volume is negative, or open or close
            lies outside low and high. The message names the field and the value.
    """

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    sequence_num: int | None = None

    def __post_init__(self) -> None:
        # Nearly every candle is valid, so a single fast test comes before the search for the fault.
        if (
            0 < self.low <= self.open <= self.high < math.inf
            and self.low <= self.close <= self.high
            and 0 <= self.volume < math.inf
        ):
            return
        for field in ("open", "high", "low", "close", "volume"):
            value = getattr(self, field)
            is_allowed, allowed = (value >= 0, ">= 0") if field == "volume" else (value > 0, "> 0")
            if not math.isfinite(value) or not is_allowed:
                raise ValueError(f"candle {self.timestamp}: {field} {value!r} is not a finite number {allowed}")
        if not self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise ValueError(
                f"candle {self.timestamp}: low {self.low!r} and high {self.high!r} do not bound "
                f"open {self.open!r} and close {self.close!r}"
            )

"""Retention: how much of a series the cache keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.store.findings import DAY_MS

_MOST = 2**53

DAYS_KEPT = 4_000
"""Days of one series' evidence: all that Coinbase has (since 2015). Past it the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Life of candles in the cache, and the owner of the cut. It is a part of tasks, too.

    Attributes:
        max_candles: Members that the feeder keeps a series; 0 for all.
        ttl_s: Life of a key in seconds, set on keys the engine creates, prolonged where one is set; 0 for none.
        trim: Whether the engine itself caps keys: in the embedded server only, which is its own.

    Raises:
        ValueError: A number is below 0, or too great for Lua and JSON to count exactly.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    max_candles: int
    ttl_s: int
    trim: bool = False

    def __post_init__(self) -> None:
        for name, value in (("max_candles", self.max_candles), ("ttl_s", self.ttl_s)):
            if not 0 <= value <= _MOST:
                raise ValueError(f"{name} {value} is not allowed; allowed: 0 to {_MOST}")


def days_kept(retention: Retention, step: int) -> int:
    """Return how many days of a series' evidence are kept: those of its candles, and `DAYS_KEPT` at most."""
    if not retention.max_candles:
        return DAYS_KEPT
    # The first and the last day count as whole days, even where candles fill a part of them.
    return min(ceil_div(retention.max_candles * step, DAY_MS) + 1, DAYS_KEPT)

"""Retention: how much of a series the cache keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.store.findings import DAY_MS

_MOST = 2**53

DAYS_KEPT = 4_000
"""Most days kept of a series' evidence, more than Coinbase has (since 2015); older days are deleted."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long candles stay in the cache, and whether the engine itself limits them. Tasks carry it.

    Attributes:
        max_candles: Members that the feeder keeps per series; 0 for no limit.
        ttl_s: Life of a key (s); 0 for none. A write sets it on a key that it creates, and prolongs a shorter life.
        trim: Whether the engine itself deletes the oldest members; only in the embedded server.

    Raises:
        ValueError: A number is negative, or too large to be exact in Lua and JSON.
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
    """Return how many days of a series' evidence are kept: as many as its candles span, at most `DAYS_KEPT`."""
    if not retention.max_candles:
        return DAYS_KEPT
    # The candles may begin in the middle of a day, so they can touch one day more than they fill.
    return min(ceil_div(retention.max_candles * step, DAY_MS) + 1, DAYS_KEPT)

"""Gaps: runs of expected open times without a candle."""

from __future__ import annotations

from typing import NamedTuple

from reconciler_engine.market.timeframe import Timeframe


class Gap(NamedTuple):
    """A maximal run of missing open times.

    Attributes:
        start: First missing open time (ms UTC).
        end: Last missing open time (ms UTC), inclusive; equal to `start` for a single slot.
        count: Number of missing open times, at least 1.
    """

    start: int
    end: int
    # Deliberately hides `tuple.count`, which gaps do not need.
    count: int  # type: ignore[assignment]


class GapInfo(NamedTuple):
    """A gap with the symbol and timeframe of its series."""

    symbol: str
    timeframe: Timeframe
    start: int
    end: int
    count: int  # type: ignore[assignment]

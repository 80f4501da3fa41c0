"""The requests that a pass or a backfill would send for each series, and their duration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """Work of a backfill in one series.

    Attributes:
        symbol: Product id.
        timeframe: Name of the timeframe.
        start: First slot that would be examined (ms UTC). It lies after the range's start if an interrupted backfill
            has already done the slots before it.
        stop: First instant after the range (ms UTC).
        expected: Number of slots that would be examined.
        missing: Number of slots without a candle that are not confirmed to have none.
        gaps: Number of maximal intervals of missing slots; slots that are due and slots that rest are not joined.
        confirmed_empty: Number of slots confirmed to have no candle. They are not asked for.
        requests: Fewest pages that cover the slots due, and the slots asked for without proof before. Further pages for
            slots that the backfill's own answers leave unproven cannot be foreseen.
        error: Why the series cannot be read, or None.
    """

    symbol: str
    timeframe: str
    start: int
    stop: int
    expected: int
    missing: int
    gaps: int
    confirmed_empty: int
    requests: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """Work of a backfill in all series.

    Attributes:
        requests: Number of pages to request.
        references: Most references that may be requested beside the pages, if the exchange lacks their slots.
        missing: Number of missing slots.
        confirmed_empty: Number of slots confirmed to have no candle.
        duration_ms: Time that the requests take if nothing else uses the budget.
        series: Work in each series.
        verifying: Number of pages that also compare candles, and so wait for verification's share of the budget.
    """

    requests: int
    references: int
    missing: int
    confirmed_empty: int
    duration_ms: int
    series: tuple[SeriesPlan, ...]
    verifying: int = 0

"""The requests that a pass or a backfill would send, series by series, and how long they take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """Work of a backfill in one series.

    Attributes:
        symbol: Product id.
        timeframe: Name of the timeframe.
        start: First slot that would be examined (ms UTC); later than the range's where an earlier backfill was cut off.
        stop: First instant after the range (ms UTC).
        expected: Slots that would be examined.
        missing: Those without a candle, but for those confirmed to have none.
        gaps: Maximal intervals of them, told apart by whether they are worth a request.
        confirmed_empty: Those confirmed to have none, which are not asked for.
        requests: The fewest pages that cover slots worth a request, and slots that were asked for and not proved. Slots
            that its own answers leave unproven cannot be known.
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
    """Work of a backfill, and the time of its requests (ms) with the budget for it alone.

    `references` are the most that may be asked for beside the requests, should the exchange lack the slots asked for.
    `verifying` are the requests that compare candles, too, and wait for the share of the budget.
    """

    requests: int
    references: int
    missing: int
    confirmed_empty: int
    duration_ms: int
    series: tuple[SeriesPlan, ...]
    verifying: int = 0

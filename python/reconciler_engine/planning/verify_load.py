"""Compute how many requests verification takes, and whether its share of the budget suffices. Pure.

By the rules of `planning/verification.py`, a page of a series goes out when its oldest bar is due, and takes all bars
that are settled by then. The first bar after these starts the next page. The start of a day is the peak: a bar of every
series closes at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.page_ages import scrub_per_minute
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.sums import ONE_PAGE_IN, nearest_finer
from reconciler_engine.planning.verification import LAST_MS, SPARE_MS, VerifyRules

_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class VerifyLoad:
    """Requests that verification needs, and those that its share allows. Second answers and references are extra.

    Attributes:
        per_hour: Average requests an hour if no candle is verified by its sum.
        with_sums_per_hour: Average requests an hour if every possible candle is verified by its sum, and one in fifty
            of these pages is requested.
        allowed_per_hour: Requests an hour that the share allows.
        at_once: Requests for the bars that close at the start of a day.
        in_time_ms: Time within which these must go out.
        served: Requests that the share allows in that time.
        least_max_unverified_ms: Shortest `max_unverified_ms` for which the share suffices (ms).
    """

    per_hour: float
    with_sums_per_hour: float
    allowed_per_hour: float
    at_once: int
    in_time_ms: int
    served: int
    least_max_unverified_ms: int

    @property
    def holds(self) -> bool:
        """Whether each bar can be verified in time."""
        return self.at_once <= self.served

    def least_share(self, share: float) -> float:
        """Return the smallest sufficient share, given the current one. It is above 1 if no share suffices."""
        return ceil(100 * share * self.at_once / max(self.served, 1)) / 100


def verify_load(series: Sequence[Series], rules: VerifyRules, per_minute: float) -> VerifyLoad:
    """Return the load of verifying series.

    Args:
        series: All series of the engine.
        rules: The times of verification.
        per_minute: How many requests of verification may go out a minute.
    """
    in_time_ms = rules.max_unverified_ms - rules.settle_ms - LAST_MS
    pages = [_pages(one.timeframe.step_ms, rules) for one in series]
    hourly = [count * _HOUR_MS / cycle_ms for count, cycle_ms in pages]
    at_once = sum(count for count, _ in pages)
    return VerifyLoad(
        per_hour=sum(hourly),
        with_sums_per_hour=sum(_with_sums(series, hourly)),
        allowed_per_hour=60 * per_minute,
        at_once=at_once,
        in_time_ms=in_time_ms,
        served=int(per_minute * in_time_ms / _MINUTE_MS),
        least_max_unverified_ms=rules.settle_ms + LAST_MS + ceil(at_once / per_minute) * _MINUTE_MS,
    )


@dataclass(frozen=True, slots=True)
class ScrubLoad:
    """Requests that the scrub needs, and those that verification leaves for it.

    Attributes:
        pages: Number of pages to compare in a round.
        per_hour: Requests an hour, spread evenly over the days.
        left_per_hour: Average requests an hour that verification leaves of its share.
        least_days: Fewest days for which these suffice; None if nothing is left.
    """

    pages: int
    per_hour: float
    left_per_hour: float
    least_days: int | None

    @property
    def holds(self) -> bool:
        """Whether the scrub can compare each candle again in time."""
        return self.per_hour <= self.left_per_hour


def scrub_load(pages: int, days: int, load: VerifyLoad) -> ScrubLoad:
    """Return the load of a scrub of `pages` pages within `days` days, beside the `load` of verification."""
    left = load.allowed_per_hour - load.per_hour
    per_hour = 60 * scrub_per_minute(pages, days)
    return ScrubLoad(pages, per_hour, max(left, 0.0), ceil(days * per_hour / left) if left > 0 else None)


def _pages(step: int, rules: VerifyRules) -> tuple[int, int]:
    """Return the pages that verify a series' bars each time it is due, and the time between two such times (ms)."""
    bars = (rules.max_unverified_ms - SPARE_MS - rules.settle_ms) // step + 1
    return ceil_div(bars, PAGE_SLOTS), bars * step


def _with_sums(series: Sequence[Series], hourly: Sequence[float]) -> Iterator[float]:
    """Yield the requests an hour of each series; a series with a finer timeframe needs only its audited pages.

    Such a series is examined when its finest divisor among the symbol's timeframes is requested, or at each close if
    that is rarer.
    """
    kept: defaultdict[str, dict[Timeframe, float]] = defaultdict(dict)
    for one, per_hour in zip(series, hourly, strict=True):
        kept[one.symbol][one.timeframe] = per_hour
    for one, per_hour in zip(series, hourly, strict=True):
        timeframe, root = one.timeframe, one.timeframe
        while (finer := nearest_finer(root, kept[one.symbol])) is not None:
            root = finer
        looks = min(kept[one.symbol][root], _HOUR_MS / timeframe.step_ms)
        yield per_hour if root is timeframe else looks / ONE_PAGE_IN

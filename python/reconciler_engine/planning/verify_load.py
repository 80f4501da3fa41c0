"""The requests that verification takes, and whether its share of the budget lets all of them out in time. Pure.

It follows from the rules of `planning/verification.py`. A page of a series goes out when its oldest bar is due, and
takes all bars that are settled by then; the next one is due for the first bar that was not. When a day begins, a bar of
every series closes at once: no hour asks for more.
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
    """Requests of verification, and those that its share allows. Second answers and references come on top.

    Attributes:
        per_hour: Requests an hour, on average, if no candle followed from finer ones.
        with_sums_per_hour: The same where all do that can: of their pages one in fifty is asked for.
        allowed_per_hour: Requests an hour that the share lets out.
        at_once: Requests for bars that close when a day begins.
        in_time_ms: Time in which they must go out.
        served: Those of them that the share lets out in that time.
        least_max_unverified_ms: Shortest `max_unverified_ms` for which the share is enough (ms, whole minutes).
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
        """Return the smallest share that would be enough, by the one there is; above 1 where none would."""
        return ceil(100 * share * self.at_once / max(self.served, 1)) / 100


def verify_load(series: Sequence[Series], rules: VerifyRules, per_minute: float) -> VerifyLoad:
    """Return the load of verifying series.

    Args:
        series: All of them.
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
    """The requests that comparing kept candles again takes, beside verification.

    Attributes:
        pages: Pages that are kept.
        per_hour: Requests an hour, evenly over the days.
        left_per_hour: Requests an hour that verification leaves of its share, on average.
        least_days: Fewest days for which that is enough; None where nothing is left.
    """

    pages: int
    per_hour: float
    left_per_hour: float
    least_days: int | None

    @property
    def holds(self) -> bool:
        """Whether each candle can be compared again in time."""
        return self.per_hour <= self.left_per_hour


def scrub_load(pages: int, days: int, load: VerifyLoad) -> ScrubLoad:
    """Return the load of comparing so many pages again within so many days, beside that of verification."""
    left = load.allowed_per_hour - load.per_hour
    per_hour = 60 * scrub_per_minute(pages, days)
    return ScrubLoad(pages, per_hour, max(left, 0.0), ceil(days * per_hour / left) if left > 0 else None)


def _pages(step: int, rules: VerifyRules) -> tuple[int, int]:
    """Return how many pages verify the bars of a series, and how long it is until the next ones (ms)."""
    bars = (rules.max_unverified_ms - SPARE_MS - rules.settle_ms) // step + 1
    return ceil_div(bars, PAGE_SLOTS), bars * step


def _with_sums(series: Sequence[Series], hourly: Sequence[float]) -> Iterator[float]:
    """Yield the requests of an hour of each series, of one whose candles follow from finer ones its audited pages.

    Those are looked at when the finest ones of the symbol have been asked for, or when they close, if that is rarer.
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

"""The scrub: compare candles again that the cache keeps for good, the oldest verification first. Pure.

A page here is 300 slots of a series, numbered from 1970. Its age is the age of the oldest verification in it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from operator import attrgetter
from typing import Final, NamedTuple

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.planning.pages import PAGE_SLOTS

DEFAULT_SCRUB_DAYS: Final = 30
"""Days within which each candle that is kept for good is compared again."""

DAY_MS: Final = 86_400_000
_AIM: Final = 0.9
"""Part of the scrub's days in which a round should end; the rest makes up for outages and restarts."""

_HOUR_MS: Final = 3_600_000

_MINUTE_MS: Final = 60_000
# Greater than every known age, so that unknown pages sort last: an instant in 2106.
_UNKNOWN: Final = 2**32 - 1


def scrub_per_minute(pages: int, days: int) -> float:
    """Return how many pages a minute must go out to compare all `pages` evenly within `days`."""
    return pages * _MINUTE_MS / (days * _AIM * DAY_MS)


class OldPage(NamedTuple):
    """A page and the oldest verification in it (s UTC)."""

    at: int
    series: Series
    number: int

    @property
    def slots(self) -> Interval:
        """Slots of the page."""
        return page_slots(self.series, self.number, self.number + 1)


class RoundFigures(NamedTuple):
    """Progress of a round.

    Attributes:
        pages: Number of pages of all series.
        done: Number of pages verified since the round began.
        unknown: Number of pages not read since the engine started.
        oldest: Oldest verification among the pages that were read (ms UTC), by name of the timeframe.
    """

    pages: int
    done: int
    unknown: int
    oldest: Mapping[str, int]


@dataclass(slots=True)
class _Ages:
    """Oldest verification in each page of a series from number `first` on (s UTC), or `_UNKNOWN`."""

    first: int
    at: array[int] = field(default_factory=lambda: array("I"))

    def fit(self, first: int, stop: int) -> None:
        """Keep exactly the pages with numbers in `first <= n < stop`; new ones are unknown."""
        if first < self.first:
            self.at = array("I", [_UNKNOWN]) * (self.first - first) + self.at
        del self.at[: max(first - self.first, 0)]
        self.first = first
        del self.at[max(stop - first, 0) :]
        self.at.extend([_UNKNOWN] * (stop - first - len(self.at)))

    def find_unknown(self, start: int) -> int:
        """Return the index of the first unknown page at or after `start`; the length if all are known."""
        try:
            return self.at.index(_UNKNOWN, start)
        except ValueError:
            return len(self.at)


class PageAges:
    """The ages of all pages, cached in memory. Redis keeps the verifications that they are computed from."""

    def __init__(self) -> None:
        self._ages: dict[Series, _Ages] = {}
        self._not_before: dict[tuple[Series, int], int] = {}

    @property
    def pages(self) -> int:
        """Number of pages."""
        return sum(len(one.at) for one in self._ages.values())

    def fit(self, kept: Mapping[Series, Interval]) -> None:
        """Keep exactly the pages of these slots; new ones are unknown."""
        before, self._ages = self._ages, {}
        for series, slots in kept.items():
            first, stop = _number(series, slots.start), _number(series, slots.stop - 1) + 1
            self._ages[series] = before.get(series, _Ages(first))
            self._ages[series].fit(first, stop)
        self._not_before = {key: at for key, at in self._not_before.items() if key[0] in kept}

    def unknown(self, most: int) -> Iterator[tuple[Series, range]]:
        """Yield the pages of unknown age: a series with a range of up to `most` page numbers at a time."""
        for series, ages in self._ages.items():
            stop = 0
            while (start := ages.find_unknown(stop)) < len(ages.at):
                stop = start
                while stop < min(start + most, len(ages.at)) and ages.at[stop] == _UNKNOWN:
                    stop += 1
                yield series, range(ages.first + start, ages.first + stop)

    def note(self, series: Series, number: int, at: int | None, now: int) -> None:
        """Record the oldest verification in a page (ms UTC); None for a page without any, which counts as of `now`."""
        ages, found = self._ages.get(series), max((now if at is None else at) // 1_000, 1)
        if ages is not None and 0 <= number - ages.first < len(ages.at) and ages.at[number - ages.first] != found:
            ages.at[number - ages.first] = found
            self._not_before.pop((series, number), None)

    def at(self, series: Series, number: int) -> int | None:
        """Return the oldest verification in a page (s UTC); None for a page that is not held."""
        ages = self._ages.get(series)
        held = ages is not None and 0 <= number - ages.first < len(ages.at)
        return ages.at[number - ages.first] if ages is not None and held else None

    def put_off(self, series: Series, number: int, again_at: int | None, now: int) -> None:
        """Leave a page alone after a request in vain: until `again_at` (ms UTC), or for an hour if that is None."""
        self._not_before[series, number] = now + _HOUR_MS if again_at is None else max(again_at, now + _MINUTE_MS)

    def oldest(self, count: int, now: int) -> list[OldPage]:
        """Return up to `count` pages that may be asked for at `now` (ms UTC), the oldest first."""
        put_off = {key for key, at in self._not_before.items() if at > now}
        most = count + len(put_off)
        # The oldest n pages lie in at most n series: those with the oldest minima.
        series = nsmallest(most, self._ages, key=lambda one: min(self._ages[one].at, default=_UNKNOWN))
        pages = nsmallest(most, (page for one in series for page in self._known(one)), key=attrgetter("at"))
        return [page for page in pages if (page.series, page.number) not in put_off][:count]

    def oldest_of_each(self) -> list[OldPage]:
        """Return the oldest page of each timeframe, including pages that were put off."""
        found: dict[str, OldPage] = {}
        for series, ages in self._ages.items():
            at, name = min(ages.at, default=_UNKNOWN), series.timeframe.value
            if at != _UNKNOWN and (name not in found or at < found[name].at):
                found[name] = OldPage(at, series, ages.first + ages.at.index(at))
        return [*found.values()]

    def figures(self, since: int) -> RoundFigures:
        """Return the progress of the round that began at `since` (ms UTC)."""
        oldest = {page.series.timeframe.value: page.at * 1_000 for page in self.oldest_of_each()}
        done = unknown = 0
        for ages in self._ages.values():
            left = ages.at.count(_UNKNOWN)
            unknown += left
            done += sum(map((since // 1_000).__le__, ages.at)) - left
        return RoundFigures(self.pages, done, unknown, oldest)

    def _known(self, series: Series) -> Iterator[OldPage]:
        ages = self._ages[series]
        return (OldPage(at, series, number) for number, at in enumerate(ages.at, ages.first) if at != _UNKNOWN)


class Pace:
    """Spreads pages evenly over the days.

    Each page sent moves `paid_to` (ms UTC) forward by the time that it may take. The caller keeps that instant across
    restarts. After a long pause at most the pages of one hour are made up for, but at least one page.
    """

    def __init__(self) -> None:
        self.paid_to: int | None = None

    def earned(self, pages: int, days: int, now: int) -> int:
        """Return how many of `pages` pages may go out at `now` (ms UTC)."""
        each = _ms_each(pages, days)
        since = now if self.paid_to is None else min(self.paid_to, now)
        self.paid_to = max(since, now - max(_HOUR_MS, each))
        return (now - self.paid_to) // each

    def spend(self, sent: int, pages: int, days: int, now: int) -> None:
        """Record that `sent` pages went out at `now` (ms UTC). `paid_to` never moves past `now`."""
        paid_to = now if self.paid_to is None else self.paid_to
        self.paid_to = min(paid_to + sent * _ms_each(pages, days), now)


def _ms_each(pages: int, days: int) -> int:
    return max(round(_MINUTE_MS / scrub_per_minute(max(pages, 1), days)), 1)


def page_slots(series: Series, first: int, stop: int) -> Interval:
    """Return the slots of the pages with numbers in `first <= n < stop`."""
    length = PAGE_SLOTS * series.timeframe.step_ms
    return Interval(first * length, stop * length)


def _number(series: Series, open_time: int) -> int:
    return open_time // (PAGE_SLOTS * series.timeframe.step_ms)

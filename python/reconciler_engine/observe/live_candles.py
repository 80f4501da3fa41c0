"""State of the feeder, judged by its candles: live, silent or stopped, for each series and over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.words import describe_span

LATE_MS: Final = 180_000
"""How long after its due time a live candle may come (ms)."""


_NAMED = 3


class Feed(StrEnum):
    """State of a series' feeder.

    Attributes:
        LIVE: The feeder's next candle is not late.
        SILENT: The next candle is late, but the cache has no newer bar either: nobody traded, or the engine could not
            ask the exchange.
        STOPPED: The next candle is late, and the engine has filled newer bars itself.
        NONE: No candle of a feeder has been seen since the engine began to look.
    """

    LIVE = "live"
    SILENT = "silent"
    STOPPED = "stopped"
    NONE = "none seen"


class Sighting(NamedTuple):
    """The feeder's newest candle of a series, and when it was first seen.

    Attributes:
        newest: Open time of the newest member at the last look, by any writer (ms UTC); None for an empty series.
        live: Open time of the newest candle that the feeder wrote (ms UTC); None before its first.
        seen_at: When the feeder's newest candle was first seen (ms UTC).
    """

    newest: int | None = None
    live: int | None = None
    seen_at: int | None = None

    def feed(self, timeframe: Timeframe, now: int) -> Feed:
        """Return the feeder's state at `now` (ms UTC)."""
        if self.live is None:
            return Feed.NONE
        # Some feeders write a bar from its open time on, others only once it has closed.
        if now < self.live + 2 * timeframe.step_ms + LATE_MS:
            return Feed.LIVE
        return Feed.STOPPED if self.newest is not None and self.newest > self.live else Feed.SILENT

    def age_ms(self, now: int) -> int | None:
        """Return the time since the feeder's newest candle was first seen (ms); None before its first."""
        return None if self.seen_at is None else max(0, now - self.seen_at)


class FeederState(NamedTuple):
    """State of the feeder over all series.

    Attributes:
        age_ms: Time since the feeder's newest candle of any series was first seen; None before its first.
        ages_ms: The same for each timeframe, shortest first; timeframes without a candle of the feeder are left out.
        series: Number of series in each state.
        stopped: Names of the series whose feeder stopped.
    """

    age_ms: int | None
    ages_ms: Mapping[str, int]
    series: Mapping[Feed, int]
    stopped: tuple[str, ...]


def sum_up(sightings: Mapping[str, Sighting], now: int) -> FeederState:
    """Return the feeder's state at `now` (ms UTC), from sightings by series; unknown timeframes are left out."""
    ages: dict[str, int] = {}
    feeds: dict[str, Feed] = {}
    frames = {frame.value: frame for frame in Timeframe}
    for name, sighting in sorted(sightings.items()):
        frame = frames.get(name.rpartition(":")[2])
        if frame is None:
            continue
        feeds[name] = sighting.feed(frame, now)
        age = sighting.age_ms(now)
        if age is not None:
            ages[frame.value] = min(age, ages.get(frame.value, age))
    counts = Counter(feeds.values())
    return FeederState(
        min(ages.values(), default=None),
        {name: ages[name] for name in frames if name in ages},
        {feed: counts[feed] for feed in Feed},
        tuple(name for name, feed in feeds.items() if feed is Feed.STOPPED),
    )


def feeder_in_words(state: FeederState) -> str:
    """Describe the feeder in one line, with the names of some series whose feeder stopped."""
    if state.age_ms is None:
        return "feeder: none seen"
    more = len(state.stopped) - _NAMED
    named = f" ({', '.join(state.stopped[:_NAMED])}{f' and {more} more' if more > 0 else ''})" if state.stopped else ""
    counts = ", ".join(
        f"{count} {feed}{named if feed == Feed.STOPPED else ''}" for feed, count in state.series.items() if count
    )
    return f"feeder: newest live candle seen {describe_span(state.age_ms)} ago; series: {counts}"

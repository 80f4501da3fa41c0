"""The feeder by its candles: live, silent, stopped or none seen, and what people read of many series."""

from __future__ import annotations

import pytest

from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.live_candles import LATE_MS, Feed, Sighting, feeder_in_words, sum_up

MINUTE = 60_000
DUE = 2 * MINUTE + LATE_MS


@pytest.mark.parametrize(
    ("sighting", "now", "feed"),
    [
        (Sighting(), 0, Feed.NONE),
        (Sighting(newest=5 * MINUTE), 6 * MINUTE, Feed.NONE),
        (Sighting(0, 0, 0), DUE - 1, Feed.LIVE),
        # The engine fills what one disconnect lost: that is not the end of the feeder.
        (Sighting(MINUTE, 0, 0), DUE - 1, Feed.LIVE),
        (Sighting(0, 0, 0), DUE, Feed.SILENT),
        (Sighting(MINUTE, 0, 0), DUE, Feed.STOPPED),
    ],
)
def test_a_feeder_is_judged_by_its_newest_candle_and_the_newest_of_all(sighting, now, feed):
    assert sighting.feed(Timeframe.M1, now) is feed


def test_many_series_are_summed_up_by_timeframe():
    sightings = {
        "A-USD:5m": Sighting(0, 0, 30_000),
        "A-USD:1m": Sighting(0, 0, 50_000),
        "B-USD:1m": Sighting(0, 0, 20_000),
        "C-USD:1d": Sighting(0),
        "no series": Sighting(0, 0, 0),
    }
    told = sum_up(sightings, MINUTE)
    assert (told.age_ms, list(told.ages_ms.items())) == (10_000, [("1m", 10_000), ("5m", 30_000)])
    assert told.series == {Feed.LIVE: 3, Feed.SILENT: 0, Feed.STOPPED: 0, Feed.NONE: 1}
    assert feeder_in_words(told) == "feeder: newest live candle seen 10 s ago; series: 3 live, 1 none seen"


def test_series_whose_feeder_stopped_are_named():
    stopped = {f"{name}-USD:1m": Sighting(DUE, 0, 0) for name in "ABCDE"}
    said = feeder_in_words(sum_up(stopped, 10 * MINUTE))
    assert said.endswith("series: 5 stopped (A-USD:1m, B-USD:1m, C-USD:1m and 2 more)")
    assert feeder_in_words(sum_up({}, 0)) == "feeder: none seen"

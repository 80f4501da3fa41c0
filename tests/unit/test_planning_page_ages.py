"""The memory of the scrub and its pace: the oldest pages first, spread evenly, none twice."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.page_ages import DAY_MS, Pace, PageAges, page_slots, scrub_per_minute

MINUTE, HOUR = 60_000, 3_600_000
BTC, ETH = Series("BTC-USD", Timeframe.M1), Series("ETH-USD", Timeframe.M5)
NOW = 1_767_225_600_000


def kept(series: Series, first: int, stop: int) -> dict[Series, Interval]:
    return {series: page_slots(series, first, stop)}


def pages_of(ages: PageAges, count: int, now: int = NOW) -> list[tuple[str, int]]:
    return [(one.series.symbol, one.number) for one in ages.oldest(count, now)]


@pytest.fixture
def ages():
    """Three pages of one series and two of another; page 11 is the oldest."""
    found = PageAges()
    found.fit({**kept(BTC, 10, 13), **kept(ETH, 4, 6)})
    for series, numbers in found.unknown(100):
        for number in numbers:
            found.note(series, number, NOW - (DAY_MS if number == 11 else 60_000 * number), NOW)
    return found


def test_the_oldest_pages_of_all_series_come_first(ages):
    assert pages_of(ages, 3) == [("BTC-USD", 11), ("BTC-USD", 12), ("BTC-USD", 10)]
    assert pages_of(ages, 9)[3:] == [("ETH-USD", 5), ("ETH-USD", 4)]
    ages.note(BTC, 11, NOW, NOW)
    assert pages_of(ages, 9)[-1] == ("BTC-USD", 11)


def test_pages_of_one_age_come_in_the_order_of_their_slots():
    ages = PageAges()
    ages.fit(kept(BTC, 0, 5))
    for number in range(5):
        ages.note(BTC, number, NOW, NOW)
    assert [number for _, number in pages_of(ages, 3)] == [0, 1, 2]


def test_unknown_pages_are_told_in_parts_until_they_are_noted():
    ages = PageAges()
    ages.fit({**kept(BTC, 10, 13), **kept(ETH, 4, 6)})
    told = []
    for series, numbers in ages.unknown(2):
        told.append((series, numbers))
        for number in numbers:
            ages.note(series, number, None, NOW)
    assert told == [(BTC, range(10, 12)), (BTC, range(12, 13)), (ETH, range(4, 6))]
    assert list(ages.unknown(2)) == []


def test_pages_that_come_on_either_side_are_unknown_and_those_that_go_are_forgotten(ages):
    ages.fit(kept(BTC, 9, 15))
    found = list(ages.unknown(100))[:1]
    assert found == [(BTC, range(9, 10))]
    assert ages.pages == 6
    ages.fit(kept(BTC, 12, 15))
    assert pages_of(ages, 9) == [("BTC-USD", 12)]


def test_a_page_without_a_verified_candle_is_as_of_now(ages):
    ages.note(BTC, 11, None, NOW)
    assert ages.at(BTC, 11) == NOW // 1_000


def test_a_page_asked_in_vain_is_left_alone_for_an_hour_or_as_its_answer_says(ages):
    ages.put_off(BTC, 11, None, NOW)
    assert 11 not in [number for _, number in pages_of(ages, 9, NOW + HOUR - 1)]
    assert pages_of(ages, 1, NOW + HOUR) == [("BTC-USD", 11)]
    ages.put_off(BTC, 11, NOW + 4 * MINUTE, NOW)
    assert pages_of(ages, 1, NOW + 4 * MINUTE) == [("BTC-USD", 11)]
    # Looking at it again changes nothing, unless it was compared.
    ages.note(BTC, 11, NOW - DAY_MS, NOW)
    # Others take its place, as many as are wanted.
    assert pages_of(ages, 2, NOW + MINUTE) == [("BTC-USD", 12), ("BTC-USD", 10)]


def test_figures_count_what_was_verified_since_the_round_began(ages):
    figures = ages.figures(NOW - 10 * MINUTE)
    assert (figures.pages, figures.done, figures.unknown) == (5, 3, 0)
    assert figures.oldest == {"1m": NOW - DAY_MS, "5m": NOW - 5 * MINUTE}


@pytest.mark.parametrize(("pages", "days"), [(12, 1), (5_000, 30), (40_000, 30)])
def test_a_round_takes_nine_tenths_of_the_days_evenly(pages, days):
    pace = Pace()
    sent, an_hour = 0, []
    pace.earned(pages, days, NOW)
    for minute in range(days * 24 * 60):
        now = NOW + minute * MINUTE
        out = pace.earned(pages, days, now)
        pace.spend(out, pages, days, now)
        sent += out
        if minute % 60 == 59:
            an_hour.append(sent)
            sent = 0
    assert sum(an_hour[: round(0.9 * 24 * days)]) == pytest.approx(pages, abs=2)
    assert max(an_hour) - min(an_hour) <= 2


def test_a_pace_that_another_engine_left_goes_on():
    pace = Pace()
    each = MINUTE / scrub_per_minute(30, 30)
    pace.paid_to = NOW - round(each) - 1
    assert pace.earned(30, 30, NOW) == 1


def test_of_a_long_silence_an_hour_is_made_up_for():
    pace = Pace()
    pace.paid_to = NOW - 20 * DAY_MS
    assert pace.earned(43_200 * 9 // 10, 30, NOW) == 60
    pace.paid_to = NOW - 20 * DAY_MS
    assert pace.earned(3, 30, NOW) == 1


def test_overdue_pages_leave_no_debt():
    pace = Pace()
    pace.earned(100, 1, NOW)
    pace.spend(50, 100, 1, NOW)
    assert pace.earned(100, 1, NOW + HOUR) == 4

"""The tally of a pass, from outcomes made by hand."""

from __future__ import annotations

import pytest

from reconciler_engine.engine.passes.pass_plan import plan_pages
from reconciler_engine.engine.passes.tally import Tally
from reconciler_engine.engine.tasks.messages import PageOutcome, ScanOutcome, SpanFinding
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ERRORS_KEPT, TOTAL_ERRORS_KEPT
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

MINUTE = 60_000
BTC = Series("BTC-USD", Timeframe.M1)
ETH = Series("ETH-USD", Timeframe.M5)


def scan(*findings, error=None) -> ScanOutcome:
    return ScanOutcome(id="scan-0", findings=findings, error=error)


def finding(series, *runs, **named) -> SpanFinding:
    """A finding of which all that is missing is worth a request, unless it is named."""
    return SpanFinding(symbol=series.symbol, timeframe=series.timeframe, missing=runs, **{"due": runs, **named})


def page(series, *unresolved, **named) -> PageOutcome:
    return PageOutcome(
        id="page-0", symbol=series.symbol, timeframe=series.timeframe, unresolved=unresolved, **named
    )  # fmt: skip


def slots(first, stop) -> Interval:
    return Interval(first * MINUTE, stop * MINUTE)


def plan(tally):
    return plan_pages(tally.due(), 2_000 * MINUTE, 0)


@pytest.fixture
def tally() -> Tally:
    return Tally([(BTC, Interval(0, 1_000 * MINUTE)), (ETH, Interval(0, 20 * 5 * MINUTE))])


def test_before_any_scan_nothing_is_known(tally):
    result = tally.result(duration_ms=7)
    assert (result.scanned_symbols, result.scanned_timeframes, result.duration_ms) == (0, 0, 7)
    assert [(row.expected, row.missing) for row in result.series] == [(0, 0), (0, 0)]


def test_a_series_without_a_finding_is_complete(tally):
    tally.add_scan([BTC, ETH], scan())
    result = tally.result(duration_ms=0)
    assert (result.scanned_symbols, result.scanned_timeframes) == (2, 2)
    assert [(row.expected, row.missing, row.unresolved, row.errors) for row in result.series] == [
        (1_000, 0, 0, ()), (20, 0, 0, ()),
    ]  # fmt: skip


def test_a_window_without_a_slot_counts_as_not_scanned():
    tally = Tally([(BTC, Interval(30_000, 59_999))])
    tally.add_scan([BTC], scan())
    result = tally.result(duration_ms=0)
    assert (result.scanned_symbols, result.series[0].expected) == (0, 0)


def test_what_was_not_read_is_not_complete(tally):
    tally.add_scan([BTC, ETH], scan(finding(BTC, unread=True, error="WRONGTYPE")))
    result = tally.result(duration_ms=0)
    assert (result.scanned_symbols, result.errors) == (1, ("BTC-USD:1m: WRONGTYPE",))
    assert [row.expected for row in result.series] == [0, 20]


def test_a_scan_that_failed_leaves_its_series_unexamined(tally):
    tally.add_scan([BTC, ETH], scan(error="given up"))
    result = tally.result(duration_ms=0)
    assert (result.scanned_symbols, result.missing) == (0, 0)
    assert result.errors == ("BTC-USD:1m: given up", "ETH-USD:5m: given up")


def test_an_error_of_cleaning_leaves_what_was_found(tally):
    tally.add_scan([BTC], scan(finding(BTC, (0, 2), duplicates=3, error="OOM")))
    row = tally.result(duration_ms=0).series[0]
    assert (row.expected, row.missing, row.duplicates, row.errors) == (1_000, 2, 3, ("OOM",))


def test_without_pages_all_that_is_missing_is_unresolved(tally):
    tally.add_scan([BTC, ETH], scan(finding(BTC, (0, 3), (10 * MINUTE, 1), malformed=2)))
    result = tally.result(duration_ms=0)
    assert (result.missing, result.unresolved, result.gaps_found, result.gaps_filled, result.filled) == (4, 4, 2, 0, 0)
    assert result.series[0].malformed == 2


def test_pages_fill_slots_and_gaps(tally):
    tally.add_scan([BTC, ETH], scan(finding(BTC, (0, 3), (10 * MINUTE, 1), (500 * MINUTE, 400)), finding(ETH, (0, 1))))
    assert [(series, one.wanted.size(series.timeframe.step_ms)) for series, _, one in plan(tally)] == [
        (BTC, 240), (BTC, 160), (BTC, 4), (ETH, 1),
    ]  # fmt: skip
    # the middle of the first gap stays, the last gap stays at its end, in two pages
    tally.add_page(slots(600, 900), page(BTC, (899 * MINUTE, 1), requests=1))
    tally.add_page(slots(470, 600), page(BTC, requests=2, error="late"))
    tally.add_page(slots(0, 41), page(BTC, (MINUTE, 1), requests=1, mismatched=1))
    tally.add_page(slots(0, 5), page(ETH, requests=1))
    result = tally.result(duration_ms=0)
    totals = (result.missing, result.filled, result.unresolved, result.gaps_found, result.gaps_filled, result.requests)
    assert totals == (405, 403, 2, 4, 2, 5)
    assert (result.mismatched, result.errors) == (1, ("BTC-USD:1m: late",))
    assert [(row.gaps, row.filled, row.unresolved) for row in result.series] == [(3, 402, 2), (1, 1, 0)]


def test_only_what_is_worth_a_request_is_asked_for(tally):
    tally.add_scan([BTC], scan(finding(BTC, (0, 9), confirmed=((20 * MINUTE, 4),), due=((5 * MINUTE, 1),))))
    ((_, _, one),) = plan(tally)
    assert (one.wanted.size(MINUTE), one.wanted.hull.start) == (1, 5 * MINUTE)
    row = tally.result(duration_ms=0).series[0]
    assert (row.missing, row.gaps, row.confirmed_empty, row.unresolved, row.filled) == (9, 1, 4, 9, 0)


def test_what_is_confirmed_is_not_unresolved_and_no_gap_is_filled_by_it(tally):
    tally.add_scan([BTC], scan(finding(BTC, (0, 2), (10 * MINUTE, 3), confirmed=((20 * MINUTE, 4),))))
    tally.add_page(slots(0, 50), page(BTC, confirmed=((10 * MINUTE, 3), (20 * MINUTE, 4)), requests=1))
    result = tally.result(duration_ms=0)
    assert (result.missing, result.filled, result.confirmed_empty, result.unresolved) == (5, 2, 7, 0)
    assert (result.gaps_found, result.gaps_filled) == (2, 1)
    (checked, _) = tally.checked()
    assert checked.unresolved == ()


def test_a_candle_that_comes_late_fills_a_confirmed_slot(tally):
    tally.add_scan([BTC], scan(finding(BTC, confirmed=((20 * MINUTE, 4),), due=((20 * MINUTE, 4),))))
    tally.add_page(slots(0, 50), page(BTC, confirmed=((20 * MINUTE, 1), (22 * MINUTE, 2)), requests=1))
    row = tally.result(duration_ms=0).series[0]
    assert (row.missing, row.filled, row.confirmed_empty, row.unresolved) == (0, 1, 3, 0)


def test_a_page_of_which_nothing_became_known_leaves_all_as_it_was(tally):
    given = finding(BTC, (0, 2), confirmed=((20 * MINUTE, 4),), due=((0, 2), (20 * MINUTE, 4)))
    tally.add_scan([BTC], scan(given))
    nothing = PageOutcome(id="page-0", symbol="BTC-USD", timeframe=Timeframe.M1, requests=4, error="away")
    tally.add_page(slots(0, 50), nothing)
    row = tally.result(duration_ms=0).series[0]
    assert (row.filled, row.confirmed_empty, row.unresolved, row.requests) == (0, 4, 2, 4)


def test_neighbours_outside_the_window_do_not_count(tally):
    tally.add_scan([BTC], scan(finding(BTC, (999 * MINUTE, 1))))
    tally.add_page(slots(960, 1_030), page(BTC, (1_001 * MINUTE, 3), confirmed=((1_010 * MINUTE, 9),), requests=1))
    row = tally.result(duration_ms=0).series[0]
    assert (row.filled, row.confirmed_empty, row.unresolved) == (1, 0, 0)


def test_the_same_error_is_told_once_and_errors_have_a_bound(tally):
    tally.add_scan([BTC], scan())
    for number in range(2 * ERRORS_KEPT):
        for _ in range(2):
            tally.add_page(slots(0, 1), page(BTC, error=f"error {number}"))
    assert tally.result(duration_ms=0).series[0].errors == tuple(f"error {number}" for number in range(ERRORS_KEPT))
    many = [Series(f"A{number}-USD", Timeframe.M1) for number in range(TOTAL_ERRORS_KEPT + 5)]
    crowd = Tally([(one, Interval(0, MINUTE)) for one in many])
    crowd.add_scan(many, scan(error="gone"))
    assert len(crowd.result(duration_ms=0).errors) == TOTAL_ERRORS_KEPT


def test_pages_go_newest_first_over_all_series_and_ask_for_no_open_slot(tally):
    tally.add_scan([BTC, ETH], scan(finding(BTC, (0, 1), (999 * MINUTE, 1)), finding(ETH, (50 * MINUTE, 2))))
    planned = plan_pages(tally.due(), 1_000 * MINUTE, 0)
    assert [(series.symbol, one.interval) for series, _, one in planned] == [
        ("BTC-USD", slots(701, 1_000)), ("ETH-USD", slots(0, 210)), ("BTC-USD", slots(0, 31)),
    ]  # fmt: skip


def test_a_page_reaches_out_of_the_window_and_looks_after_what_is_inside():
    tally = Tally([(BTC, Interval(100 * MINUTE - 1, 110 * MINUTE + 1))])
    tally.add_scan([BTC], scan(finding(BTC, (100 * MINUTE, 11))))
    ((_, span, one),) = plan(tally)
    assert (one.interval, span) == (slots(70, 141), slots(100, 111))


@pytest.mark.parametrize(("undecided", "bridges"), [((), 1), (((300 * MINUTE, 1),), 0)])
def test_no_bridge_goes_over_a_slot_that_an_unusable_row_left_open(tally, undecided, bridges):
    tally.add_scan([BTC], scan(finding(BTC, (299 * MINUTE, 2))))
    for span, slot in ((slots(0, 300), 299), (slots(300, 600), 300)):
        left = (slot * MINUTE, 1)
        mine = tuple(run for run in undecided if run == left)
        tally.add_page(span, page(BTC, left, undecided=mine, fault="1 row unusable" if mine else None))
    assert len(tally.bridges(100_000 * MINUTE)) == bridges
    (row, _) = tally.result(duration_ms=0).series
    assert row.errors == (("1 row unusable",) if undecided else ())


def test_what_another_page_puts_in_doubt_is_unresolved_in_either_order(tally):
    doubted = ((20 * MINUTE, 4),)
    pages = [
        (slots(0, 15), page(BTC, requests=1, reopened=doubted)),
        (slots(15, 50), page(BTC, confirmed=doubted, requests=1)),
    ]
    for order in (pages, pages[::-1]):
        tally.add_scan([BTC], scan(finding(BTC, (0, 9), confirmed=doubted, due=((0, 9), *doubted))))
        for span, outcome in order:
            tally.add_page(span, outcome)
        row = tally.result(duration_ms=0).series[0]
        assert (row.confirmed_empty, row.unresolved) == (0, 4)


def test_a_gap_across_two_pages_is_asked_for_whole(tally):
    tally = Tally([(BTC, slots(0, 1_000))])
    tally.add_scan([BTC], scan(finding(BTC, (10 * MINUTE, 2))))
    tally.add_page(slots(0, 11), page(BTC, confirmed=((10 * MINUTE, 1),), requests=1), slots(0, 50))
    tally.add_page(slots(11, 60), page(BTC, (11 * MINUTE, 1), requests=1), slots(10, 60))
    assert [one.interval for _, _, one in tally.bridges(2_000 * MINUTE)] == [slots(9, 13)]


def test_a_gap_that_an_answer_held_whole_is_not_asked_for_again(tally):
    for asked, bridges in ((slots(9, 21), 0), (slots(10, 21), 1)):
        tally.add_scan([BTC], scan(finding(BTC, (10 * MINUTE, 10))))
        tally = Tally([(BTC, slots(0, 1_000))])
        tally.add_scan([BTC], scan(finding(BTC, (10 * MINUTE, 10))))
        tally.add_page(slots(10, 20), page(BTC, (10 * MINUTE, 10), requests=1), asked)
        assert len(tally.bridges(2_000 * MINUTE)) == bridges

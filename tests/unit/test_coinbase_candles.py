"""A page of candles: rows read, rows dropped, answers refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from reconciler_engine.coinbase.candles import CandlePage, parse_candles
from reconciler_engine.errors import BadResponse, SourceUnavailable
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series

SERIES = Series.parse("BTC-USD:5m")
START_S = 1_767_225_600
STEP_S = 300
PAGE = Interval(START_S * 1_000, (START_S + 10 * STEP_S) * 1_000)


def row(slot: int, **changes: Any) -> dict[str, Any]:
    values = {"low": "88010.5", "high": "88102", "open": "88040.11", "close": "88075.2", "volume": "12.40512"}
    return {"start": str(START_S + slot * STEP_S), **values, **changes}


def parse(rows: object, series: Series = SERIES, interval: Interval = PAGE) -> CandlePage:
    return parse_candles(json.dumps({"candles": rows}).encode(), series, interval)


def slots(page: CandlePage) -> list[int]:
    return [(candle.timestamp // 1_000 - START_S) // STEP_S for candle in page.candles]


def test_the_documented_answer() -> None:
    body = b"""{"candles":[
     {"start":"1767226200","low":"88010.5","high":"88102","open":"88040.11","close":"88075.2","volume":"12.40512"},
     {"start":"1767225600","low":"87990","high":"88051.73","open":"88001.4","close":"88040.11","volume":"9.8"}]}"""
    page = parse_candles(body, SERIES, PAGE)
    assert page.candles == (
        Candle(1_767_225_600_000, 88001.4, 88051.73, 87990.0, 88040.11, 9.8),
        Candle(1_767_226_200_000, 88040.11, 88102.0, 88010.5, 88075.2, 12.40512),
    )
    assert (page.rows, page.outside, page.stray, page.duplicates) == (2, 0, 0, 0)
    assert (page.oldest, page.newest, page.covering) == (1_767_225_600_000, 1_767_226_200_000, True)


def test_an_empty_page_is_an_answer() -> None:
    page = parse([])
    assert (page.candles, page.rows, page.oldest, page.newest, page.covering) == ((), 0, None, None, True)


def test_any_order_is_sorted() -> None:
    assert slots(parse([row(3), row(9), row(0), row(5)])) == [0, 3, 5, 9]


def test_rows_at_both_ends_of_the_range_are_dropped() -> None:
    page = parse([row(10), row(9), row(0), row(-1)])
    assert slots(page) == [0, 9]
    assert (page.rows, page.outside, page.stray, page.covering) == (4, 2, 0, True)
    assert (page.oldest, page.newest) == ((START_S - STEP_S) * 1_000, (START_S + 10 * STEP_S) * 1_000)


def test_only_neighbours_are_an_empty_page() -> None:
    assert parse([row(10), row(-1)]).candles == ()


def test_rows_far_outside_are_dropped_and_say_that_the_answer_does_not_cover() -> None:
    page = parse([row(11), row(4)])
    assert (slots(page), page.outside, page.stray, page.covering) == ([4], 1, 1, False)


def test_equal_duplicates_are_dropped() -> None:
    page = parse([row(4), row(4), row(3), row(4, high="88102.0")])
    assert (slots(page), page.rows, page.duplicates) == ([3, 4], 4, 2)


def test_an_unknown_field_is_ignored() -> None:
    assert slots(parse([row(0, product_id="BTC-USD")])) == [0]


@pytest.mark.parametrize("exponent", ["1e2", "1E2", "10e+1", "1000e-1"])
def test_exponents_are_numbers(exponent: str) -> None:
    assert parse([row(0, volume=exponent)]).candles[0].volume == 100.0


def test_a_full_page() -> None:
    interval = Interval(PAGE.start, PAGE.start + 300 * STEP_S * 1_000)
    assert slots(parse([row(slot) for slot in range(300)], interval=interval)) == list(range(300))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "candle is a list"),
        ("x", "candle is a str"),
        (None, "candle is a NoneType"),
        ({}, "start None"),
        (row(3, start=START_S), f"start {START_S} is not a string"),
        (row(3, start=""), "start ''"),
        (row(3, start="-300"), "start '-300'"),
        (row(3, start="2026-01-01T00:00:00Z"), "is not a string of seconds"),
        (row(3, start=f"{START_S}.0"), "is not a string of seconds"),
        (row(3, start=f"{START_S}000"), "is not a string of seconds"),
    ],
)
def test_a_row_without_a_readable_start_leaves_every_absent_slot_open(wrong: object, said: str) -> None:
    page = parse([row(0), wrong, row(5)])
    assert (slots(page), page.unusable, page.unreadable, page.covering) == ([0, 5], (), 1, False)
    assert page.fault is not None
    assert page.fault.startswith("1 row unusable, first: candle ")
    assert said in page.fault


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"start": str(START_S + 3 * STEP_S + 1)}, "off the grid of 300000 ms"),
        ({"start": str(START_S + 3 * STEP_S + 299)}, "off the grid of 300000 ms"),
        ({"open": 88040.11}, "open 88040.11 is not a string"),
        ({"volume": 0}, "volume 0 is not a string"),
        ({"close": None}, "close None"),
        ({"close": ["1"]}, "close ['1']"),
        ({"low": ""}, "low ''"),
        ({"low": " 1"}, "low ' 1'"),
        ({"low": "0"}, "low 0.0 is not a finite number > 0"),
        ({"high": "NaN"}, "high 'NaN'"),
        ({"high": "Infinity"}, "high 'Infinity'"),
        ({"high": "1e999"}, "high inf"),
        ({"high": "9" * 41}, "high '9999"),
        ({"high": "88_102"}, "high '88_102'"),
        ({"high": "0x1"}, "high '0x1'"),
        ({"high": "٨"}, "high"),
        ({"volume": "-1"}, "volume '-1'"),
        ({"high": "1"}, "do not bound"),
        ({"low": "88080", "high": "88070"}, "do not bound"),
        ({"open": "99999"}, "do not bound"),
    ],
)
def test_an_unusable_row_costs_its_own_slot_alone(wrong: dict[str, object], said: str) -> None:
    page = parse([row(0), row(3, **wrong), row(5)])
    assert (slots(page), page.unusable, page.unreadable) == ([0, 5], ((START_S + 3 * STEP_S) * 1_000,), 0)
    assert (page.covering, page.rows, page.duplicates) == (True, 3, 0)
    assert page.fault is not None
    assert page.fault.startswith("1 row unusable, first: candle ")
    assert said in page.fault


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 5_000, "-" + "9" * 5_000])
def test_a_bare_number_of_any_size_costs_its_own_slot_alone(number: str) -> None:
    body = json.dumps({"candles": [row(0), row(3, high="@"), row(5)]}).replace('"@"', number)
    page = parse_candles(body.encode(), SERIES, PAGE)
    assert (slots(page), page.unusable) == ([0, 5], ((START_S + 3 * STEP_S) * 1_000,))


@pytest.mark.parametrize("field", ["open", "high", "low", "close", "volume"])
def test_a_missing_field_is_named(field: str) -> None:
    wrong = row(3)
    del wrong[field]
    page = parse([row(0), wrong])
    assert (slots(page), len(page.unusable)) == ([0], 1)
    assert f"{field} None" in str(page.fault)


@pytest.mark.parametrize(
    "twins",
    [
        [row(3), row(3, volume="12.4")],
        [row(3), row(3, volume="NaN")],
        [row(3, volume="NaN"), row(3)],
        [row(3), row(3, start=str(START_S + 3 * STEP_S + 1))],
        [row(3), row(3), row(3, volume="12.4"), row(3)],
    ],
)
def test_a_slot_with_differing_rows_has_none(twins: list[object]) -> None:
    page = parse([row(0), *twins, row(5)])
    assert (slots(page), page.unusable) == ([0, 5], ((START_S + 3 * STEP_S) * 1_000,))


def test_faults_are_counted_by_slot_and_the_first_is_told() -> None:
    page = parse([row(4, low="0"), row(2, high="1"), "x", row(0)])
    assert page.unusable == ((START_S + 2 * STEP_S) * 1_000, (START_S + 4 * STEP_S) * 1_000)
    assert page.fault == f"3 rows unusable, first: candle {START_S + 4 * STEP_S}000: low 0.0 is not a finite number > 0"


def test_an_unusable_row_beyond_the_range_costs_nothing() -> None:
    page = parse([row(10, low="0"), row(4)])
    assert (slots(page), page.unusable, page.covering) == ([4], (), True)


@pytest.mark.parametrize("start", ["0", "1", "999999999999"])
@pytest.mark.parametrize("others", [[], [row(4)], [row(4), row(5)]])
def test_a_start_of_another_time_does_not_refuse_the_good_rows(start: str, others: list[object]) -> None:
    page = parse([*others, row(3, start=start, low="0")])
    assert (len(page.candles), page.unusable, page.covering) == (len(others), (), False)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(400)], "wrong dates"),
        ([row(400), row(401, low="0")], "wrong dates"),
        ([row(slot) for slot in range(-300, -2)], "wrong dates"),
        ([row(slot) for slot in range(-5, 347)], "352 candles; the exchange sends at most 351"),
        ([row(slot, low="0") for slot in range(-5, 347)], "352 candles; the exchange sends at most 351"),
        ([[]] * 352, "352 candles; the exchange sends at most 351"),
    ],
)
def test_rows_of_another_time_or_too_many_refuse_the_whole_answer(rows: list[object], said: str) -> None:
    with pytest.raises(BadResponse, match=said) as refused:
        parse(rows)
    assert refused.value.retryable


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"candles":null}',
        b'{"candles":{}}',
        b'{"candles":"none"}',
        b'{"candles":[{"start":"1767225600"',
        b'{"error":"INVALID_ARGUMENT","message":"x"}',
        b"Unauthorized",
        b"\x1f\x8b\x08\x00",
        b"{" * 100_000,
        b'{"candles":' + b"[" * 100_000,
    ],
)
def test_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(BadResponse) as refused:
        parse_candles(body, SERIES, PAGE)
    assert len(str(refused.value)) < 250


def test_html_with_status_200_is_a_server_in_trouble() -> None:
    with pytest.raises(SourceUnavailable, match="HTML page instead of JSON"):
        parse_candles(b"<!DOCTYPE html><html><head><title>Just a moment...</title>", SERIES, PAGE)


def minutes(count: int, every: int, *, high: str = "88102") -> list[dict[str, Any]]:
    flat = {"open": "88075.2", "low": "88075.2", "close": "88075.2", "high": high}
    return [row(0, start=str(START_S + 60 * every * slot), **flat) for slot in range(count)]


HOURS = Interval(PAGE.start, PAGE.start + 300 * 60_000)
MINUTES = Series.parse("BTC-USD:1m")


@pytest.mark.parametrize(
    ("rows", "coarser"),
    [(minutes(60, 5), "5m"), (minutes(9, 30), "30m"), (minutes(4, 60), "1h"), (minutes(20, 15), "15m")],
)
def test_another_timeframes_rows_are_refused(rows: Sequence[object], coarser: str) -> None:
    with pytest.raises(BadResponse, match=f"all lie on the grid of {coarser}"):
        parse(rows, MINUTES, HOURS)


@pytest.mark.parametrize("timeframe", ["5m", "30m", "1h"])
def test_bars_of_a_finer_timeframe_are_refused(timeframe: str) -> None:
    with pytest.raises(BadResponse, match=f"candles are off the grid of {timeframe}"):
        parse(minutes(120, 1), Series.parse(f"BTC-USD:{timeframe}"), HOURS)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(minutes(8, 5), id="few enough to be chance"),
        pytest.param(minutes(60, 5, high="88075.2"), id="one trade a bar, by the clock"),
        pytest.param([*minutes(60, 5), row(0, start=str(START_S + 60))], id="one bar between"),
        pytest.param(minutes(300, 1), id="all bars"),
    ],
)
def test_sparse_markets_are_not_taken_for_another_timeframe(rows: Sequence[object]) -> None:
    assert len(parse(rows, MINUTES, HOURS).candles) == len(rows)

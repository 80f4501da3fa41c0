"""Texts that go into a URL, and the exchange's clock."""

from __future__ import annotations

import pytest

from reconciler_engine.coinbase.wire import candles_path, candles_query, parse_time, read_object
from reconciler_engine.errors import BadResponse, SourceUnavailable
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe

DAY_MS = 86_400_000
START = 1_767_225_600_000


def test_paths() -> None:
    assert candles_path("BTC-USD") == "/api/v3/brokerage/market/products/BTC-USD/candles"
    assert candles_path("BTC-USD", authenticated=True) == "/api/v3/brokerage/products/BTC-USD/candles"


@pytest.mark.parametrize("symbol", ["", "BTC", "../../accounts", "BTC-USD/../x", "BTC-USD?x=1", "btc-usd", "BTC-USD\n"])
def test_nothing_but_a_product_id_enters_a_path(symbol: str) -> None:
    with pytest.raises(ValueError, match="is not a product id"):
        candles_path(symbol)


def test_query_ends_a_second_before_the_page_stops() -> None:
    assert candles_query(Timeframe.M5, Interval(START, START + 600_000)) == {
        "start": "1767225600",
        "end": "1767226199",
        "granularity": "FIVE_MINUTE",
    }


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_query_covers_the_same_slots_on_either_reading_of_its_end(timeframe: Timeframe) -> None:
    step = timeframe.step_ms // 1_000
    start = START // timeframe.step_ms * step
    query = candles_query(timeframe, Interval(start * 1_000, (start + 7 * step) * 1_000))
    slots = range(start, start + 9 * step, step)
    inclusive = [slot for slot in slots if int(query["start"]) <= slot <= int(query["end"])]
    exclusive = [slot for slot in slots if int(query["start"]) <= slot < int(query["end"])]
    assert inclusive == exclusive == list(slots)[:7]


def test_a_page_of_300_slots_passes_and_301_are_refused() -> None:
    candles_query(Timeframe.D1, Interval(0, 300 * DAY_MS))
    with pytest.raises(ValueError, match="page of 301 slots of 1d; allowed: 1 to 300"):
        candles_query(Timeframe.D1, Interval(0, 301 * DAY_MS))


@pytest.mark.parametrize("interval", [(0, 0), (1, 60_000), (0, 60_001), (-60_000, 60_000)])
def test_what_is_no_page_is_refused(interval: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"page .*; allowed: "):
        candles_query(Timeframe.M1, Interval(*interval))


@pytest.mark.parametrize(
    "body",
    [
        b'{"iso":"2026-01-01T00:00:00Z","epochSeconds":"1767225600","epochMillis":"1767225600123"}',
        b'{"epochSeconds":1767225600,"epochMillis":1767225600123}',
    ],
)
def test_time_in_strings_and_in_numbers(body: bytes) -> None:
    assert parse_time(body) == 1_767_225_600_123


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty body"),
        (b"{}", "epochMillis None"),
        (b'{"epochSeconds":"1767225600","epochMillis":""}', "epochMillis ''"),
        (b'{"epochSeconds":"1767225600","epochMillis":"-1"}', "epochMillis '-1'"),
        (b'{"epochSeconds":1767225600,"epochMillis":1767225600123.5}', "epochMillis 1767225600123.5"),
        (b'{"epochSeconds":1,"epochMillis":true}', "epochMillis True"),
        (b'{"epochSeconds":"1767225","epochMillis":"1767225600"}', "is not an instant in ms"),
        (b'{"epochSeconds":"1767225700","epochMillis":"1767225600123"}', "are different instants"),
        (b'{"epochSeconds":1767225600,"epochMillis":' + b"9" * 5_000 + b"}", "epochMillis inf is not a whole number"),
    ],
)
def test_a_clock_that_is_none_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadResponse, match=said):
        parse_time(body)


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b'{"a":1', b"\xff\xfe{}", b"[" * 100_000, b"[]", b"null", b'"text"', b"1"]
)
def test_only_an_object_is_an_answer(body: bytes) -> None:
    with pytest.raises(BadResponse):
        read_object(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"candles":[1],"candles":[]}',
        b'{"candles":[{"a":1,"candles":2,"candles":2}]}',
        b'{"candles":1,"\\u0063andles":1}',
    ],
)
def test_a_field_that_stands_twice_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadResponse, match="field 'candles' occurs twice"):
        read_object(body)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>", b"\n\xef\xbb\xbf <html>", b"<?xml version='1.0'?>"])
def test_html_is_a_server_in_trouble(body: bytes) -> None:
    with pytest.raises(SourceUnavailable, match="HTML page"):
        read_object(body)

"""The simulated exchange over real sockets: each rule of its specification."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.integration.exchange_door import CANDLES, FREE, MARKET, MIDNIGHT_S, NOW_S, PRODUCTS, open_door

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.rules.candle_endpoint import CandleRules
from reconciler_engine.simulator.rules.exchange import ExchangeRules


def refusal(error: str, details: str) -> dict[str, str]:
    return {"error": error, "error_details": details, "message": details}


SPAN = refusal(
    "INVALID_ARGUMENT", "start and end argument is invalid - number of candles requested should be less than 350 "
)


async def test_candles_are_strings_newest_first_and_aligned() -> None:
    async with open_door() as door:
        answer = await door.ask(CANDLES, start=NOW_S - 3000, end=NOW_S, granularity="FIVE_MINUTE")
        assert answer.headers["content-type"].startswith("application/json")
        candles = answer.json()["candles"]
    starts = [int(candle["start"]) for candle in candles]
    assert starts == list(range(NOW_S - NOW_S % 300, NOW_S - 3000, -300))
    for candle in candles:
        assert set(candle) == {"start", "low", "high", "open", "close", "volume"}
        assert all(isinstance(value, str) for value in candle.values())
        assert float(candle["low"]) <= float(candle["open"]) <= float(candle["high"])


async def test_answer_holds_the_market_bars() -> None:
    async with open_door() as door:
        answer = await door.ask(CANDLES, start=MIDNIGHT_S, end=MIDNIGHT_S + 3540, granularity="ONE_MINUTE")
    bars = MARKET.bars("BTC-USD", Timeframe.M1, Interval(MIDNIGHT_S * 1000, (MIDNIGHT_S + 3600) * 1000), NOW_S * 1000)
    served = [
        (int(c["start"]) * 1000, c["open"], c["high"], c["low"], c["close"], c["volume"])
        for c in answer.json()["candles"]
    ]
    assert served == [tuple(bar) for bar in reversed(bars)]


async def test_minutes_without_trades_are_absent() -> None:
    async with open_door() as door:
        answer = await door.ask(
            "/market/products/DASH-USD/candles", start=MIDNIGHT_S, end=MIDNIGHT_S + 299 * 60, granularity="ONE_MINUTE"
        )
    assert 150 < len(answer.json()["candles"]) < 290
    assert door.exchange.log.records[-1].rows == len(answer.json()["candles"])


@pytest.mark.parametrize("timeframe", list(Timeframe))
async def test_every_granularity_is_served(timeframe: Timeframe) -> None:
    step = timeframe.step_ms // 1000
    async with open_door() as door:
        starts = await door.starts(start=NOW_S - 9 * step, end=NOW_S, granularity=timeframe.granularity)
    assert starts == [NOW_S - NOW_S % step - i * step for i in range(9)]


@pytest.mark.parametrize(
    ("rules", "slots", "passes"),
    [
        (FREE, 350, True),
        (FREE, 351, False),
        (replace(FREE, candles=CandleRules(span_limit=349)), 349, True),
        (replace(FREE, candles=CandleRules(span_limit=349)), 350, False),
    ],
)
async def test_span_is_refused_and_never_truncated(rules: ExchangeRules, slots: int, passes: bool) -> None:
    async with open_door(rules) as door:
        answer = await door.ask(CANDLES, start=MIDNIGHT_S, end=MIDNIGHT_S + (slots - 1) * 60, granularity="ONE_MINUTE")
    if passes:
        assert len(answer.json()["candles"]) == slots
    else:
        assert (answer.status_code, answer.json()) == (400, SPAN)


async def test_unaligned_window_of_350_buckets_passes_and_limit_does_not_lift_the_check() -> None:
    async with open_door() as door:
        assert len(await door.starts(start=NOW_S - 350 * 60, end=NOW_S, granularity="ONE_MINUTE")) == 350
        refused = await door.ask(CANDLES, start=NOW_S - 400 * 60, end=NOW_S, granularity="ONE_MINUTE", limit=10)
    assert refused.json() == SPAN


async def test_end_is_inclusive_or_not_by_rule() -> None:
    window: dict[str, Any] = {"start": MIDNIGHT_S, "end": MIDNIGHT_S + 600, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        assert await door.starts(**window) == [MIDNIGHT_S + 600, MIDNIGHT_S + 300, MIDNIGHT_S]
        # The engine's end (stop - 1 s) reads the same under both rules.
        assert await door.starts(**{**window, "end": MIDNIGHT_S + 599}) == [MIDNIGHT_S + 300, MIDNIGHT_S]
    async with open_door(replace(FREE, candles=CandleRules(end_inclusive=False))) as door:
        assert await door.starts(**window) == [MIDNIGHT_S + 300, MIDNIGHT_S]
        assert await door.starts(**{**window, "end": MIDNIGHT_S + 599}) == [MIDNIGHT_S + 300, MIDNIGHT_S]


async def test_bucket_of_an_unaligned_start_comes_by_rule_only() -> None:
    window: dict[str, Any] = {"start": MIDNIGHT_S + 1, "end": MIDNIGHT_S + 300, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        assert await door.starts(**window) == [MIDNIGHT_S + 300]
    async with open_door(replace(FREE, candles=CandleRules(covers_start=True))) as door:
        assert await door.starts(**window) == [MIDNIGHT_S + 300, MIDNIGHT_S]


async def test_limit_keeps_the_newest() -> None:
    window: dict[str, Any] = {"start": MIDNIGHT_S, "end": MIDNIGHT_S + 3000, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        assert await door.starts(**window, limit=2) == [MIDNIGHT_S + 3000, MIDNIGHT_S + 2700]
        assert len(await door.starts(**window, limit=0)) == 11
        assert len(await door.starts(**window, limit=9999)) == 11


async def test_window_that_is_not_given_is_the_latest() -> None:
    async with open_door() as door:
        starts = await door.starts(granularity="ONE_MINUTE")
    assert starts == [NOW_S - NOW_S % 60 - i * 60 for i in range(350)]


async def test_open_bucket_is_served_by_rule() -> None:
    window: dict[str, Any] = {"start": NOW_S - 900, "end": NOW_S, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        assert (await door.starts(**window))[0] == NOW_S - NOW_S % 300
    async with open_door(replace(FREE, candles=CandleRules(forming=False))) as door:
        assert (await door.starts(**window))[0] == NOW_S - NOW_S % 300 - 300


async def test_open_bucket_follows_the_clock_that_time_tells() -> None:
    window: dict[str, Any] = {"start": NOW_S - 300, "end": NOW_S + 300, "granularity": "FIVE_MINUTE"}
    async with open_door() as door:
        before = (await door.ask(CANDLES, **window)).json()["candles"][0]
        door.exchange.clock.set((NOW_S + 60) * 1000 + 7)
        after = (await door.ask(CANDLES, **window)).json()["candles"][0]
        told = (await door.ask("/time")).json()
    assert before["start"] == after["start"]
    assert float(before["volume"]) < float(after["volume"])
    assert told == {"iso": "2026-11-23T12:03:30Z", "epochSeconds": str(NOW_S + 60), "epochMillis": f"{NOW_S + 60}007"}


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        (
            {"granularity": "THREE_HOUR"},
            400,
            refusal("unknown", 'parsing field "granularity": "THREE_HOUR" is not a valid value'),
        ),
        ({"granularity": "300"}, 400, refusal("unknown", 'parsing field "granularity": "300" is not a valid value')),
        ({}, 400, refusal("INVALID_ARGUMENT", "granularity argument is invalid ")),
        ({"granularity": "UNKNOWN_GRANULARITY"}, 400, refusal("INVALID_ARGUMENT", "granularity argument is invalid ")),
        ({"granularity": "ONE_MINUTE", "start": "x"}, 400, refusal("INVALID_ARGUMENT", "start argument is invalid ")),
        (
            {"granularity": "ONE_MINUTE", "start": "200", "end": "100"},
            400,
            refusal("INVALID_ARGUMENT", "start and end argument is invalid "),
        ),
        (
            {"granularity": "ONE_MINUTE", "limit": "ten"},
            400,
            refusal("unknown", 'parsing field "limit": strconv.ParseInt: parsing "ten": invalid syntax'),
        ),
        # Parse errors come before arguments that are not allowed.
        (
            {"granularity": "NO", "start": "x"},
            400,
            refusal("unknown", 'parsing field "granularity": "NO" is not a valid value'),
        ),
        (
            {"start": "x", "limit": "ten"},
            400,
            refusal("unknown", 'parsing field "limit": strconv.ParseInt: parsing "ten": invalid syntax'),
        ),
    ],
)
async def test_refusals_have_the_recorded_bodies(query: dict[str, Any], status: int, body: object) -> None:
    async with open_door() as door:
        answer = await door.ask(CANDLES, **query)
    assert (answer.status_code, answer.json()) == (status, body)


async def test_milliseconds_for_seconds_are_an_empty_future() -> None:
    async with open_door() as door:
        assert await door.starts(start=NOW_S * 1000 - 600, end=NOW_S * 1000, granularity="ONE_MINUTE") == []


@pytest.mark.parametrize("field", ["start", "end"])
async def test_an_instant_of_thousands_of_digits_is_refused_and_logged_as_it_is(field: str) -> None:
    digits = "9" * 5_000
    async with open_door() as door:
        query: dict[str, Any] = {field: digits, "granularity": "ONE_MINUTE"}
        answer = await door.ask(CANDLES, **query)
        assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_ARGUMENT")
        (record,) = door.exchange.log.records
        assert getattr(record, field) == digits


async def test_unknown_product_is_not_found() -> None:
    async with open_door() as door:
        answer = await door.ask("/market/products/NOPE-USD/candles", granularity="ONE_MINUTE")
        assert (answer.status_code, answer.json()) == (404, refusal("NOT_FOUND", "valid product_id is required"))
        answer = await door.ask("/market/products/NOPE-USD")
        assert (answer.status_code, answer.json()) == (
            404,
            refusal("NOT_FOUND", "Product NOPE-USD not supported"),
        )


async def test_times_without_the_product_are_an_empty_list() -> None:
    async with open_door() as door:
        for product, start in (("NEW-USD", MIDNIGHT_S - 3600), ("OLD-USD", MIDNIGHT_S)):
            answer = await door.ask(
                f"/market/products/{product}/candles", start=start, end=start + 3599, granularity="ONE_MINUTE"
            )
            assert (answer.status_code, answer.json()) == (200, {"candles": []})


async def test_alias_gives_the_same_candles() -> None:
    async with open_door() as door:
        query: dict[str, Any] = {"start": MIDNIGHT_S, "end": MIDNIGHT_S + 3000, "granularity": "FIVE_MINUTE"}
        alias = await door.ask("/market/products/BTC-USDC/candles", **query)
        book = await door.ask(CANDLES, **query)
    assert alias.json() == book.json()


async def test_products_are_listed_with_their_state() -> None:
    async with open_door() as door:
        answer = (await door.ask("/market/products", unheard_of="1")).json()
        products = {product["product_id"]: product for product in answer["products"]}
        assert (answer["num_products"], list(products)) == (5, [product.symbol for product in PRODUCTS])
        assert products["OLD-USD"]["status"] == "delisted"
        assert products["OLD-USD"]["trading_disabled"] is True
        assert products["BTC-USD"]["status"] == "online"
        assert products["BTC-USD"]["alias_to"] == ["BTC-USDC"]
        assert products["BTC-USDC"]["alias"] == "BTC-USD"
        assert (products["NEW-USD"]["new"], products["BTC-USD"]["new"]) == (True, False)
        assert float(products["BTC-USD"]["approximate_quote_24h_volume"]) > 0
        assert (await door.ask("/market/products/BTC-USD")).json() == products["BTC-USD"]

        page = (await door.ask("/market/products", limit=2, offset=1)).json()
        assert [product["product_id"] for product in page["products"]] == ["DASH-USD", "NEW-USD"]
        chosen = await door.client.get("/market/products?product_ids=BTC-USD&product_ids=OLD-USD")
        assert [product["product_id"] for product in chosen.json()["products"]] == ["BTC-USD", "OLD-USD"]
        assert (await door.ask("/market/products", product_type="FUTURE")).json()["products"] == []


async def test_private_paths_refuse_without_a_verifier() -> None:
    async with open_door() as door:
        for path in ("/products", "/products/BTC-USD", "/products/BTC-USD/candles?granularity=ONE_MINUTE"):
            answer = await door.ask(path)
            assert (answer.status_code, answer.text) == (401, "Unauthorized")
            assert answer.headers["content-type"].startswith("text/plain")


async def test_other_paths_and_methods_are_refused() -> None:
    async with open_door() as door:
        assert (await door.ask("/orders")).status_code == 404
        assert (await door.client.post("/time")).status_code == 405


async def test_body_of_a_get_is_ignored() -> None:
    async with open_door() as door:
        answer = await door.client.request("GET", "/time", json={})
        assert answer.status_code == 200
        assert (await door.ask("/time")).status_code == 200

"""Products and the ways to choose among them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler_engine.coinbase.products import Product, parse_products
from reconciler_engine.coinbase.symbol_selectors import Selector, choose, near_matches
from reconciler_engine.errors import BadResponse, ConfigError, SourceUnavailable

DOCUMENTED = b"""{"products":[{"product_id":"ETH-USD","price":"3012.5","base_increment":"0.00000001",
 "quote_increment":"0.01","status":"online","trading_disabled":false,"is_disabled":false,"cancel_only":false,
 "limit_only":false,"post_only":false,"auction_mode":false,"view_only":false,"new":false,"product_type":"SPOT",
 "base_currency_id":"ETH","quote_currency_id":"USD","alias":"","alias_to":["ETH-USDC"],"product_venue":"CBE",
 "mid_market_price":"","approximate_quote_24h_volume":"123456.5"}],"num_products":1}"""


def row(symbol: Any, **fields: Any) -> dict[str, Any]:
    return {"product_id": symbol, "status": "online", "trading_disabled": False, "is_disabled": False, **fields}


def parse(*rows: Any) -> tuple[Product, ...]:
    return parse_products(json.dumps({"products": rows}).encode())


def test_the_documented_product() -> None:
    assert parse_products(DOCUMENTED) == (Product("ETH-USD", "USD", tradable=True, quote_volume=123_456.5),)


@pytest.mark.parametrize(
    ("fields", "tradable"),
    [
        ({}, True),
        ({"status": ""}, True),
        ({"status": "delisted"}, False),
        ({"status": "offline"}, False),
        ({"status": None}, False),
        ({"trading_disabled": True}, False),
        ({"is_disabled": True}, False),
        ({"view_only": True}, False),
        ({"cancel_only": True, "limit_only": True, "post_only": True, "auction_mode": True}, True),
    ],
)
def test_what_trades(fields: dict[str, Any], tradable: bool) -> None:
    assert parse(row("A-USD", **fields))[0].tradable is tradable


@pytest.mark.parametrize("volume", [None, "", "NaN", "-1", 7, "1e5"])
def test_a_volume_that_is_none_is_unknown(volume: Any) -> None:
    assert parse(row("A-USD", approximate_quote_24h_volume=volume))[0].quote_volume is None


@pytest.mark.parametrize(
    ("fields", "listed_at"),
    [
        ({"new": True, "new_at": "2026-01-01T00:00:00Z"}, 1_767_225_600_000),
        ({"new": True, "new_at": "2026-01-01T01:00:00.5+01:00"}, 1_767_225_600_500),
        # a date without the tag promises nothing
        ({"new": False, "new_at": "2026-01-01T00:00:00Z"}, None),
        ({"new": "true", "new_at": "2026-01-01T00:00:00Z"}, None),
        # no zone, no date, no text, nothing
        ({"new": True, "new_at": "2026-01-01T00:00:00"}, None),
        ({"new": True, "new_at": "soon"}, None),
        ({"new": True, "new_at": 1_767_225_600}, None),
        ({"new": True}, None),
    ],
)
def test_since_when_a_new_product_is_listed(fields: dict[str, Any], listed_at: int | None) -> None:
    assert parse(row("A-USD", **fields))[0].listed_at == listed_at


@pytest.mark.parametrize(
    ("status", "is_delisted"), [("delisted", True), ("online", False), ("offline", False), ("", False)]
)
def test_only_delisted_is_for_good(status: str, is_delisted: bool) -> None:
    assert parse(row("A-USD", status=status))[0].is_delisted is is_delisted


@pytest.mark.parametrize(
    ("alias", "book"), [("BTC-USD", "BTC-USD"), ("", None), (None, None), (7, None), ("../x", None)]
)
def test_an_alias_names_a_product_or_nothing(alias: Any, book: str | None) -> None:
    assert parse(row("BTC-USDC", alias=alias))[0].alias_of == book


@pytest.mark.parametrize("quote", [None, ""])
def test_an_unset_quote_is_the_ids_end(quote: Any) -> None:
    assert parse(row("A-EUR", quote_currency_id=quote))[0].quote == "EUR"


def test_ids_of_another_form_are_left_out() -> None:
    products = parse(row("A-USD"), row("AAPL"), row("../x"), row("a-usd"), row("BIP-20DEC30-CDE"))
    assert [product.symbol for product in products] == ["A-USD", "BIP-20DEC30-CDE"]


@pytest.mark.parametrize("bad", ["B-USD", None, 7, [], {}, {"product_id": None}, {"product_id": 7}])
def test_one_unusable_row_costs_that_row(bad: Any) -> None:
    assert [product.symbol for product in parse(row("A-USD"), bad, row("C-USD"))] == ["A-USD", "C-USD"]


def test_a_future_has_no_quote_for_choices() -> None:
    future = row("BIT-31DEC27-CDE", product_type="FUTURE", quote_currency_id="USD", status="")
    (product,) = parse(future)
    assert (product.quote, product.tradable) == ("", True)
    assert choose([Selector.parse("all:USD")], [product, *PRODUCTS]) == choose([Selector.parse("all:USD")], PRODUCTS)


def test_a_list_that_may_be_empty_may_not_be_of_useless_rows() -> None:
    assert parse_products(b'{"products":[]}', may_be_empty=True) == ()
    with pytest.raises(BadResponse, match="no product in a list of 1"):
        parse_products(b'{"products":[7]}', may_be_empty=True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "no list of products"),
        (b'{"products":null}', "no list of products"),
        (b'{"products":[]}', "no product in a list of 0"),
        (b'{"products":[{"product_id":"AAPL"}]}', "no product in a list of 1"),
        (b'{"products":["A-USD"]}', "no product in a list of 1"),
        (b'{"products":[{}]}', "no product in a list of 1"),
        (b"", "empty body"),
    ],
)
def test_what_is_no_list_of_products_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadResponse, match=said):
        parse_products(body)


def test_html_is_a_server_in_trouble() -> None:
    with pytest.raises(SourceUnavailable):
        parse_products(b"<html>")


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("BTC-USD", Selector(symbol="BTC-USD")),
        ("all:USD", Selector(quote="USD")),
        ("top:20:USDC", Selector(quote="USDC", count=20)),
    ],
)
def test_selectors(text: str, selector: Selector) -> None:
    assert Selector.parse(text) == selector


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BTC",
        "btc-usd",
        "all:",
        "all:usd",
        "all:USD:5",
        "top:USD",
        "top:0:USD",
        "top:-1:USD",
        "top:1.5:USD",
        "x:USD",
        ":",
    ],
)
def test_what_is_no_selector_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        Selector.parse(text)


PRODUCTS = (
    Product("DOGE-USD", "USD", tradable=True, quote_volume=5.0),
    Product("BTC-USD", "USD", tradable=True, quote_volume=100.0),
    Product("ETH-USD", "USD", tradable=True, quote_volume=5.0),
    Product("OLD-USD", "USD", tradable=False, quote_volume=1_000.0),
    Product("NEW-USD", "USD", tradable=True, quote_volume=None),
    Product("BTC-EUR", "EUR", tradable=True, quote_volume=50.0),
)


@pytest.mark.parametrize(
    ("texts", "symbols"),
    [
        (["all:USD"], ["BTC-USD", "DOGE-USD", "ETH-USD", "NEW-USD"]),
        (["top:2:USD"], ["BTC-USD", "DOGE-USD"]),
        (["top:99:EUR"], ["BTC-EUR"]),
        (["ETH-USD", "top:2:USD", "BTC-USD"], ["ETH-USD", "BTC-USD", "DOGE-USD"]),
        (["OLD-USD"], ["OLD-USD"]),
    ],
)
def test_choose(texts: list[str], symbols: list[str]) -> None:
    assert choose(map(Selector.parse, texts), PRODUCTS) == tuple(symbols)


def test_all_faults_of_a_choice_are_told_at_once() -> None:
    selectors = map(Selector.parse, ["BTC-USDD", "BTC-USD", "XXXXX-YYYYY", "all:GBP"])
    with pytest.raises(ConfigError) as refused:
        choose(selectors, PRODUCTS)
    assert refused.value.faults == (
        "symbol BTC-USDD is not a product of the exchange; near: BTC-USD",
        "symbol XXXXX-YYYYY is not a product of the exchange",
        "symbols: nothing tradable is quoted in GBP; quotes: EUR, USD",
    )


def test_near_matches() -> None:
    assert near_matches("BTC-EUX", PRODUCTS)[:1] == ["BTC-EUR"]
    assert near_matches("BTCUSD-X", PRODUCTS)[:1] == ["BTC-USD"]

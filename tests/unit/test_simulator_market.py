"""Seeded prices: the same for the same seed, at any instant, and in agreement across timeframes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct, list_products
from reconciler_engine.simulator.prices.market import Bar, fold
from reconciler_engine.simulator.prices.seeded import SeededMarket

DAY = 86_400_000
MIDNIGHT = 1_795_392_000_000
NOW = MIDNIGHT + 7 * 3_600_000 + 23 * 60_000 + 45_678

DENSE = ListedProduct("BTC-USD", 65_000.0)
THIN = ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False)
PRODUCTS = (DENSE, THIN, ListedProduct("BTC-USDC", 65_000.0, alias_of="BTC-USD"))


@pytest.fixture(scope="module")
def market() -> SeededMarket:
    return SeededMarket(7, PRODUCTS)


def numbers(bar: Bar) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, bar[1:]))


KNOWN = Bar(MIDNIGHT, "68988.89", "69032.78", "68939.11", "69013.45", "2.89474834")

PAIRS = [
    (child, parent)
    for child in Timeframe
    for parent in Timeframe
    if child.step_ms < parent.step_ms and parent.step_ms % child.step_ms == 0
]


@pytest.mark.parametrize(("child", "parent"), PAIRS, ids=[f"{child}-{parent}" for child, parent in PAIRS])
@pytest.mark.parametrize("symbol", ["BTC-USD", "DASH-USD"])
def test_parent_is_the_fold_of_its_children(
    market: SeededMarket, symbol: str, child: Timeframe, parent: Timeframe
) -> None:
    # The last of the three parents is the one that is still open.
    last = parent.floor(NOW)
    for start in range(last - 2 * parent.step_ms, last + 1, parent.step_ms):
        parts = market.bars(symbol, child, Interval(start, start + parent.step_ms), NOW)
        whole = market.bars(symbol, parent, Interval(start, start + 1), NOW)
        assert len(whole) == (1 if parts else 0)
        if parts:
            assert numbers(whole[0]) == numbers(fold(start, parts))


def test_every_bar_is_a_candle_on_the_grid(market: SeededMarket) -> None:
    for symbol in ("BTC-USD", "DASH-USD"):
        for timeframe in Timeframe:
            bars = market.bars(symbol, timeframe, Interval(NOW - 200 * timeframe.step_ms, NOW), NOW)
            assert bars
            for bar in bars:
                assert bar.start % timeframe.step_ms == 0
                first, high, low, last, volume = map(float, bar[1:])
                assert Candle(bar.start, first, high, low, last, volume).volume > 0
                assert not any("e" in text for text in bar[1:])


def test_same_seed_gives_the_same_bars_whatever_was_asked_before(market: SeededMarket) -> None:
    window = Interval(NOW - 500 * 60_000, NOW)
    fresh = SeededMarket(7, PRODUCTS)
    for hour in range(40):
        fresh.bars("BTC-USD", Timeframe.M5, Interval(NOW - hour * 3_600_000, NOW), NOW)
    assert fresh.bars("BTC-USD", Timeframe.M1, window, NOW) == market.bars("BTC-USD", Timeframe.M1, window, NOW)
    other = SeededMarket(8, PRODUCTS)
    assert other.bars("BTC-USD", Timeframe.M1, window, NOW) != market.bars("BTC-USD", Timeframe.M1, window, NOW)


def test_known_bar_of_a_known_seed(market: SeededMarket) -> None:
    # A change of the generator changes everybody's recorded examples: it must be meant.
    bars = market.bars("BTC-USD", Timeframe.M5, Interval(MIDNIGHT, MIDNIGHT + 1), NOW)
    assert bars == [KNOWN]


def test_any_cut_of_a_range_gives_the_same_bars(market: SeededMarket) -> None:
    start, stop = NOW - 90 * 60_000, NOW + 60_000
    whole = market.bars("DASH-USD", Timeframe.M1, Interval(start, stop), NOW)
    pieces = [
        bar
        for cut in range(start, stop, 7 * 60_000)
        for bar in market.bars("DASH-USD", Timeframe.M1, Interval(cut, min(stop, cut + 7 * 60_000)), NOW)
    ]
    assert pieces == whole


def test_dense_product_trades_in_every_minute_and_a_thin_one_does_not(market: SeededMarket) -> None:
    week = Interval(MIDNIGHT - 7 * DAY, MIDNIGHT)
    assert len(market.bars("BTC-USD", Timeframe.M1, week, NOW)) == 7 * 1440
    assert 0.6 < len(market.bars("DASH-USD", Timeframe.M1, week, NOW)) / (7 * 1440) < 0.9


def test_open_bar_grows_and_ends_as_the_closed_one(market: SeededMarket) -> None:
    start = MIDNIGHT + 3_600_000
    window = Interval(start, start + 1)
    seen = [market.bars("BTC-USD", Timeframe.M5, window, start + age) for age in range(0, 300_001, 10_000)]
    assert seen[0] == []
    volumes = [Decimal(bars[0].volume) for bars in seen[1:]]
    assert volumes == sorted(volumes)
    assert volumes[0] < volumes[-1]
    assert seen[-1] == market.bars("BTC-USD", Timeframe.M5, window, NOW)


def test_nothing_of_the_future_is_told(market: SeededMarket) -> None:
    assert market.bars("BTC-USD", Timeframe.M1, Interval(NOW, 1 << 62), NOW) == []
    bars = market.bars("BTC-USD", Timeframe.M1, Interval(NOW - 120_000, NOW + DAY), NOW)
    assert bars[-1].start == Timeframe.M1.floor(NOW)


def test_alias_shows_the_same_book(market: SeededMarket) -> None:
    window = Interval(NOW - 3_600_000, NOW)
    assert market.bars("BTC-USDC", Timeframe.M1, window, NOW) == market.bars("BTC-USD", Timeframe.M1, window, NOW)


def test_new_product_starts_at_its_listing_and_a_delisted_one_ends() -> None:
    listed, delisted = MIDNIGHT + 90_000, MIDNIGHT + 150_000
    market = SeededMarket(
        7, [ListedProduct("NEW-USD", 1.0, 4, listed=listed), ListedProduct("OLD-USD", 1.0, 4, delisted=delisted)]
    )
    window = Interval(MIDNIGHT - DAY, NOW)
    fresh = market.bars("NEW-USD", Timeframe.M1, window, NOW)
    assert fresh[0].start == MIDNIGHT + 60_000
    gone = market.bars("OLD-USD", Timeframe.M1, window, NOW)
    assert gone[-1].start == MIDNIGHT + 120_000
    # The bars the border cuts through hold what traded on its right side, in every timeframe.
    day = market.bars("NEW-USD", Timeframe.D1, window, NOW)
    assert [numbers(bar) for bar in day] == [numbers(fold(MIDNIGHT, fresh))]


def test_halted_span_has_no_bars_for_anybody() -> None:
    halt = Interval(MIDNIGHT + 90_000, MIDNIGHT + 390_000)
    market = SeededMarket(7, PRODUCTS, [halt])
    window = Interval(MIDNIGHT, MIDNIGHT + 900_000)
    starts = [bar.start for bar in market.bars("BTC-USD", Timeframe.M1, window, NOW)]
    assert starts == [
        start for start in range(MIDNIGHT, MIDNIGHT + 900_000, 60_000) if not 120_000 <= start - MIDNIGHT < 360_000
    ]
    whole = market.bars("BTC-USD", Timeframe.M15, Interval(MIDNIGHT, MIDNIGHT + 1), NOW)
    assert numbers(whole[0]) == numbers(fold(MIDNIGHT, market.bars("BTC-USD", Timeframe.M1, window, NOW)))


def test_rows_are_the_bars_as_the_wire_has_them(market: SeededMarket) -> None:
    window = Interval(NOW - 3_600_000, NOW)
    bars = market.bars("DASH-USD", Timeframe.M1, window, NOW)
    assert market.rows("DASH-USD", Timeframe.M1, window, NOW) == [bar.write_row() for bar in bars]


def test_default_products_hold_every_profile() -> None:
    products = list_products(NOW)
    market = SeededMarket(1, products)
    assert any(product.dense for product in products)
    assert any(not product.dense for product in products)
    assert [product.symbol for product in products if product.listed] == ["JUP-USD"]
    assert [product.symbol for product in products if product.delisted] == ["OMG-USD"]
    assert market.products["BTC-USDC"].alias_of == "BTC-USD"
    for product in products:
        assert market.bars(product.symbol, Timeframe.D1, Interval(MIDNIGHT - 4 * DAY, NOW), NOW), product.symbol


@pytest.mark.parametrize(
    "changes",
    [
        {"price": 0},
        {"volatility": 2},
        {"price_decimals": 9},
        {"volume_decimals": 3},
        {"trades": 0},
        {"volume": 1e8},
        {"symbol": "btc-usd"},
    ],
)
def test_product_out_of_range_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"BTC-USD|btc-usd"):
        ListedProduct(**{"symbol": "BTC-USD", "price": 1.0, **changes})


@pytest.mark.parametrize(
    ("products", "problem"),
    [
        ([DENSE, DENSE], "listed twice"),
        ([ListedProduct("BTC-USDC", 1.0, alias_of="BTC-USD")], "alias of 'BTC-USD'"),
    ],
)
def test_contradictory_product_list_is_refused(products: list[ListedProduct], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        SeededMarket(1, products)

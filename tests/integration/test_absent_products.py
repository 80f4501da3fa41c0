"""A product that does not exist, or no longer, says so; what waits for its second sighting is not overdue."""

from __future__ import annotations

import trio

from reconciler_engine.coinbase.products import Product
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.series_state import count_states
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import SeriesCoverage
from reconciler_engine.store.product_list import ProductListStore
from reconciler_engine.store.scope import Scope

NOW = 1_767_225_600_000


def test_ready_says_that_a_product_is_unknown_or_delisted(run_inside, redis_url):
    async def keep() -> None:
        async with TrioRedis.from_url(redis_url) as client:
            products = [
                Product("BTC-USD", "USD", tradable=True, quote_volume=1e9),
                Product("OLD-USD", "USD", tradable=False, quote_volume=0, is_delisted=True),
            ]
            await ProductListStore(client, Scope(1, 1, "api.coinbase.com")).keep(products, NOW)

    trio.run(keep)
    where = ("1m", "--redis-url", redis_url)
    told = {symbol: run_inside("ready", symbol, *where) for symbol in ("BTC-USD", "OLD-USD", "FOO-USD")}
    assert {symbol: done.code for symbol, done in told.items()} == dict.fromkeys(told, 3)
    assert len(told["BTC-USD"].out.splitlines()) == 1
    assert "FOO-USD is no product in the exchange's list: nothing of it can be had" in told["FOO-USD"].out
    assert "OLD-USD is delisted, known since 2026-01-01T00:00Z: what is missing of it stays missing" in (
        told["OLD-USD"].out
    )
    assert run_inside("ready", "FOO-USD", *where, "--json").json["product"].startswith("FOO-USD is no product")


def coverage(missing: int | None, **obstacles: int) -> SeriesCoverage:
    found = {Obstacle[name].value: count for name, count in obstacles.items()}
    return SeriesCoverage(complete_from=None, complete_through=None, missing=missing, checked_at=NOW, obstacles=found)


def test_slots_that_wait_for_another_answer_make_no_series_lacking():
    series = {
        "A:1m": coverage(0),
        "B:1m": coverage(3, SECOND_SIGHTING=2, REFERENCE=1),
        "C:1m": coverage(3, SECOND_SIGHTING=2),
        "D:1m": coverage(1, UNUSABLE=1),
        "E:1m": coverage(None),
    }
    assert count_states(series) == {"complete": 1, "waiting": 1, "lacking": 2, "unknown": 1}

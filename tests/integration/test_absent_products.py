"""A product that does not exist, or no longer, says so; a slot that waits for its second sighting is not overdue."""

from __future__ import annotations

import trio
from tests.integration.engines import DENSE, MINUTE, THIN, engine, span

from reconciler_engine.coinbase.products import Product
from reconciler_engine.engine.pass_words import in_words, totals
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.series_state import count_states
from reconciler_engine.observe.status import SeriesCoverage
from reconciler_engine.store.client.trio_redis import TrioRedis
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
    assert "FOO-USD is not a product in the exchange's list: the exchange has no candles of it" in told["FOO-USD"].out
    assert "OLD-USD is delisted, known since 2026-01-01T00:00Z: its missing candles stay missing" in (
        told["OLD-USD"].out
    )
    assert run_inside("ready", "FOO-USD", *where, "--json").json["product"].startswith("FOO-USD is not a product")
    every = ("ready", "--all", "--timeframes", "1m", "--symbols", "BTC-USD,OLD-USD,FOO-USD", "--redis-url", redis_url)
    rows = {row["symbol"]: row for row in run_inside(*every, "--json").json["series"]}
    assert [rows[symbol]["reason"] for symbol in told] == ["not asked for", "product delisted", "no such product"]
    assert "OLD-USD:1m  100 missing (product delisted)" in run_inside(*every).out
    assert rows["FOO-USD"]["cure"] == "none: correct the symbol, or leave it out"


async def test_a_pass_says_that_a_product_is_delisted(redis_url):
    wanted = span(600)
    async with engine(redis_url) as run:
        await run.turn_to(wanted.stop + 15_000)
        gone = Product("DASH-USD", "USD", tradable=False, quote_volume=None, is_delisted=True)
        await run.parts.products.keep([Product("REF-USD", "USD", tradable=True, quote_volume=1e9), gone], wanted.stop)
        result = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE, THIN], 600 * MINUTE))
        absent = 600 - len(await run.held(THIN))
        row = (await run.parts.coverage.read())[str(THIN)]
    assert (result.unresolved, result.delisted) == (row.missing, ("DASH-USD",))
    assert row.missing is not None
    assert 0 < row.missing <= absent
    assert row.obstacles == {"product delisted": row.missing}
    assert f"{row.missing} of those left of products that are delisted: DASH-USD" in in_words(result)
    assert totals(result)["delisted"] == ("DASH-USD",)


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
        "F:1m": coverage(0, SECOND_ANSWER=2),
        "G:1m": coverage(1, SECOND_SIGHTING=1, CONTESTED=1, UNVERIFIED=3),
        "H:1m": coverage(0, UNVERIFIED=3, LACKED=1),
        "I:1m": coverage(360, DELISTED=360, SECOND_ANSWER=1),
    }
    assert count_states(series) == {
        "ready": 1, "waiting": 2, "lacking": 2, "suspect": 1, "unverified": 1, "delisted": 1, "unknown": 1,
    }  # fmt: skip
    assert count_states(dict.fromkeys("ab", coverage(0)))["ready"] == 2

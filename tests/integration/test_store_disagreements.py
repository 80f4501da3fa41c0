"""Bars kept for a second look: when they are due, and foreign data under their key."""

from __future__ import annotations

import pytest
from tests.integration.engines import DENSE, MINUTE, engine
from tests.integration.test_verify_run import Verified

from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.disagreements import AGAIN_AFTER_MS, Disagreement, Disagreements
from reconciler_engine.store.scope import Scope

FIVE = Series.parse("BTC-USD:5m")
SLOT = 1_767_225_600_000
SCOPE = Scope.of(1, 1, "https://api.coinbase.com")
KEY = SCOPE.key("disagreements")


async def test_a_bar_is_due_after_an_hour_and_later_where_it_is_put_off(redis: TrioRedis):
    kept, now = Disagreements(redis, SCOPE), SLOT + 30 * MINUTE
    await kept.add(FIVE, [SLOT, SLOT + 5 * MINUTE], now)
    due = now + AGAIN_AFTER_MS
    assert await kept.due(due - 1, 8) == []
    first = Disagreement(FIVE, SLOT, due)
    second = first._replace(slot=SLOT + 5 * MINUTE)
    assert await kept.due(due, 8) == [first, second]
    await kept.put_off(first, due + MINUTE)
    assert await kept.due(due, 8) == [second]
    await kept.drop(second)
    assert await kept.due(due + MINUTE, 8) == [first._replace(due=due + MINUTE)]
    assert await redis.pttl(KEY) > 0


async def test_no_more_than_a_thousand_are_kept(redis: TrioRedis):
    kept = Disagreements(redis, SCOPE)
    await kept.add(FIVE, [SLOT + number * 5 * MINUTE for number in range(1_100)], 0)
    await kept.add(FIVE, [SLOT - 5 * MINUTE], 0)
    assert await redis.hlen(KEY) == 1_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("", "1"),
        ("BTC-USD:5m", "1"),
        ("BTC-USD:7m|0", "1"),
        (f"BTC-USD:5m|{SLOT + 1}", "1"),
        ("BTC-USD:5m|-300000", "1"),
        (f"BTC-USD:5m|{SLOT}", "soon"),
        (b"\xff|0", "1"),
        ("BTC-USD:5m|" + "9" * 5_000, "1"),
    ],
)
async def test_an_entry_of_another_form_says_nothing(redis: TrioRedis, field, value):
    await redis.execute_command("HSET", KEY, field, value)
    kept = Disagreements(redis, SCOPE)
    await kept.add(FIVE, [SLOT + 5 * MINUTE], 0)
    assert [one.slot for one in await kept.due(SLOT, 8)] == [SLOT + 5 * MINUTE]


async def test_a_hash_that_grew_without_end_is_not_read(redis: TrioRedis):
    await redis.execute_command("HSET", KEY, *(text for number in range(2_100) for text in (f"f{number}", "v")))
    with pytest.raises(StoreError, match="2100 fields; allowed: at most 1000"):
        await Disagreements(redis, SCOPE).due(SLOT, 8)


async def test_a_key_of_another_type_is_told_and_holds_no_verify_run_up(redis_url, caplog):
    async with engine(redis_url) as run:
        world = Verified(run)
        await world.turn()
        await world.put(60)
        await run.parts.client.set(run.parts.scope.key("disagreements"), "x")
        done = await world.verify()
        assert (done.requests, done.errors) == (1, ())
        assert DENSE.symbol in {row.symbol for row in done.series}
        assert "disagreements not looked at" in caplog.text

"""Claims on a real server: who may ask, who waits, what is remembered."""

from __future__ import annotations

import pytest
import trio

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store import claims as claims_module
from reconciler_engine.store.claims import CLAIM_LIFE_MS, Claimed, Claims, Held
from reconciler_engine.store.scope import Scope

MINUTE = 60_000
T0 = 1_735_689_600_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
KEY = "{candles:1:1:BTC-USD:1m}:claims:test"
LATER = 2**52


def slots(first: int, stop: int) -> Interval:
    return Interval(T0 + first * MINUTE, T0 + stop * MINUTE)


@pytest.fixture
def claims(redis):
    return Claims(redis, SCOPE)


async def take(claims, interval, token, since=0, void=""):
    return await claims.take(BTC, interval, token, since=since, void=void)


async def test_slots_are_held_by_one_token(claims):
    assert await take(claims, slots(0, 300), "a") == Claimed()
    held = await take(claims, slots(299, 310), "b")
    assert isinstance(held, Held)
    assert held.token == "a"
    assert 0 < held.left_ms <= CLAIM_LIFE_MS
    # neighbours touch and do not overlap
    assert await take(claims, slots(300, 310), "b") == Claimed()
    assert isinstance(await take(claims, slots(0, 1), "b"), Held)


async def test_a_claim_of_ones_own_is_renewed(redis, claims):
    await take(claims, slots(0, 300), "a")
    assert await take(claims, slots(0, 300), "a") == Claimed()
    assert await redis.zcard(KEY) == 1


async def test_a_released_claim_holds_nobody(redis, claims):
    await take(claims, slots(0, 300), "a")
    await claims.settle(BTC, slots(0, 300), "a", in_vain=False)
    assert await redis.exists(KEY) == 0
    assert await take(claims, slots(0, 300), "b") == Claimed()


async def test_what_was_asked_in_vain_is_remembered_for_those_who_began_before(redis, claims):
    await take(claims, slots(0, 300), "a")
    await claims.settle(BTC, slots(0, 300), "a", in_vain=True)
    assert await take(claims, slots(290, 400), "b") == Claimed((slots(0, 300),))
    await claims.settle(BTC, slots(290, 400), "b", in_vain=False)
    # who begins after the answer wants one of its own
    assert await take(claims, slots(290, 400), "c", since=LATER) == Claimed()
    assert 0 < await redis.pttl(KEY) <= CLAIM_LIFE_MS


async def test_a_void_token_gives_way(claims):
    await take(claims, slots(0, 300), "dead")
    assert await take(claims, slots(100, 200), "b", void="dead") == Claimed()
    assert isinstance(await take(claims, slots(0, 300), "dead"), Held)


async def test_a_claim_ends_by_itself(claims, monkeypatch):
    monkeypatch.setattr(claims_module, "CLAIM_LIFE_MS", 1)
    await take(claims, slots(0, 300), "dead")
    with trio.fail_after(5):
        while not isinstance(await take(claims, slots(0, 300), "b"), Claimed):
            await trio.lowlevel.checkpoint()


async def test_what_is_over_goes_with_the_next_claims_elsewhere(redis, claims):
    await redis.zadd(
        KEY, {f"{T0 + n * MINUTE}:{T0 + (n + 1) * MINUTE}:dead-{n}:1:0": T0 + n * MINUTE for n in range(20)}
    )
    for number in range(5):
        # four of them go with each claim
        assert await redis.zcard(KEY) == 20 - 4 * number + min(number, 1)
        assert await take(claims, slots(2_000, 2_001), "other") == Claimed()
    assert await redis.zcard(KEY) == 1


async def test_members_that_are_no_claim_are_thrown_out(redis, claims):
    await redis.zadd(KEY, {"nonsense": T0, f"{T0}:x:y": T0})
    assert await take(claims, slots(0, 1), "a") == Claimed()
    assert await redis.zcard(KEY) == 1


@pytest.mark.parametrize("token", ["gap_scan-1-a/page-7", "backfill-1-a/BTC-USD:1m-12"])
async def test_a_token_may_hold_colons(claims, token):
    await take(claims, slots(0, 2), token)
    held = await take(claims, slots(0, 2), "b")
    assert isinstance(held, Held)
    assert held.token == token

"""Claims on a real server: who may ask, who waits."""

from __future__ import annotations

import pytest
import trio

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store import claims as claims_module
from reconciler_engine.store.claims import CLAIM_LIFE_MS, Claims, OtherClaim
from reconciler_engine.store.scope import Scope

pytestmark = pytest.mark.contract

MINUTE = 60_000
T0 = 1_735_689_600_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
KEY = "{candles:1:1:BTC-USD:1m}:claims:test"


def slots(first: int, stop: int) -> Interval:
    return Interval(T0 + first * MINUTE, T0 + stop * MINUTE)


@pytest.fixture
def claims(redis):
    return Claims(redis, SCOPE)


async def take(claims, interval, token, void=""):
    return await claims.take(BTC, interval, token, void=void)


async def test_slots_are_held_by_one_token(claims):
    assert await take(claims, slots(0, 300), "a") is None
    held = await take(claims, slots(299, 310), "b")
    assert isinstance(held, OtherClaim)
    assert held.token == "a"
    assert 0 < held.left_ms <= CLAIM_LIFE_MS
    # neighbours touch and do not overlap
    assert await take(claims, slots(300, 310), "b") is None
    assert isinstance(await take(claims, slots(0, 1), "b"), OtherClaim)


async def test_a_claim_of_ones_own_is_renewed(redis, claims):
    await take(claims, slots(0, 300), "a")
    assert await take(claims, slots(0, 300), "a") is None
    assert await redis.zcard(KEY) == 1


async def test_a_released_claim_holds_nobody(redis, claims):
    await take(claims, slots(0, 300), "a")
    await claims.release(BTC, slots(0, 300), "a")
    assert await redis.exists(KEY) == 0
    assert await take(claims, slots(0, 300), "b") is None


async def test_a_void_token_gives_way(claims):
    await take(claims, slots(0, 300), "dead")
    assert await take(claims, slots(100, 200), "b", void="dead") is None
    assert isinstance(await take(claims, slots(0, 300), "dead"), OtherClaim)


async def test_a_claim_ends_by_itself(claims, monkeypatch):
    monkeypatch.setattr(claims_module, "CLAIM_LIFE_MS", 1)
    await take(claims, slots(0, 300), "dead")
    with trio.fail_after(5):
        while await take(claims, slots(0, 300), "b") is not None:
            await trio.lowlevel.checkpoint()


async def test_what_is_over_goes_with_the_next_claims_elsewhere(redis, claims):
    await redis.zadd(KEY, {f"{T0 + n * MINUTE}:{T0 + (n + 1) * MINUTE}:dead-{n}:1": T0 + n * MINUTE for n in range(20)})
    for number in range(5):
        # four of them go with each claim
        assert await redis.zcard(KEY) == 20 - 4 * number + min(number, 1)
        assert await take(claims, slots(2_000, 2_001), "other") is None
    assert await redis.zcard(KEY) == 1


async def test_members_that_are_no_claim_are_thrown_out(redis, claims):
    await redis.zadd(KEY, {"nonsense": T0, f"{T0}:x:y": T0})
    assert await take(claims, slots(0, 1), "a") is None
    assert await redis.zcard(KEY) == 1


@pytest.mark.parametrize("token", ["gap_scan-1-a/page-7", "backfill-1-a/BTC-USD:1m-12"])
async def test_a_token_may_hold_colons(claims, token):
    await take(claims, slots(0, 2), token)
    held = await take(claims, slots(0, 2), "b")
    assert isinstance(held, OtherClaim)
    assert held.token == token

"""Outages are found by counting, and nothing else is concluded from a count."""

from __future__ import annotations

import pytest

from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.outages import CHUNK_SLOTS, LEAF_SLOTS, Outages
from reconciler_engine.store.scope import Scope

pytestmark = pytest.mark.contract

MINUTE = 60_000
T0 = 1_735_689_600_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
KEY = SCOPE.candle_key(BTC)
SLOTS = 3 * CHUNK_SLOTS + 100


def slots(first: int, stop: int) -> Interval:
    return Interval(T0 + first * MINUTE, T0 + stop * MINUTE)


@pytest.fixture
def outages(redis):
    return Outages(redis, SCOPE)


async def put(redis, present) -> None:
    pairs = [part for slot in present for part in (T0 + slot * MINUTE, f"member {slot}")]
    for first in range(0, len(pairs), 2_000):
        await redis.execute_command("ZADD", KEY, *pairs[first : first + 2_000])


async def test_an_absent_key_is_one_outage(outages):
    assert list(await outages.find(BTC, slots(0, SLOTS))) == [slots(0, SLOTS)]
    assert list(await outages.find(BTC, slots(5, 5))) == []


@pytest.mark.parametrize(
    "empty", [[(0, 2 * LEAF_SLOTS)], [(700, 700 + 2 * LEAF_SLOTS), (CHUNK_SLOTS - 900, 2 * CHUNK_SLOTS + 1_200)], []]
)
async def test_long_outages_show_and_only_empty_slots_do(redis, outages, empty):
    absent = {slot for first, stop in empty for slot in range(first, stop)}
    await put(redis, [slot for slot in range(SLOTS) if slot not in absent and slot != 9_000])
    found = await outages.find(BTC, slots(0, SLOTS))
    shown = {(at - T0) // MINUTE for one in found for at in one.grid(MINUTE)}
    assert shown <= absent
    for first, stop in empty:
        assert len(shown & set(range(first, stop))) > stop - first - 2 * LEAF_SLOTS
    assert len(found) == len(empty)


async def test_duplicates_hide_a_hole_from_counting_and_no_more_than_that(redis, outages):
    await put(redis, [slot for slot in range(SLOTS) if not 100 <= slot < 200])
    await redis.execute_command("ZADD", KEY, *(part for n in range(100) for part in (T0, f"again {n}")))
    assert list(await outages.find(BTC, slots(0, SLOTS))) == []
    assert await outages.count(BTC, slots(0, SLOTS)) == SLOTS


async def test_a_key_of_another_type_is_an_error(redis, outages):
    await redis.set(KEY, "text")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await outages.find(BTC, slots(0, SLOTS))

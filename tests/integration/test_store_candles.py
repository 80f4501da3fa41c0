"""The candle cache on a real server: exact reads, and merges that never harm a candle that is there."""

from __future__ import annotations

import json
import random

import pytest
import trio
from tests.conftest import plain_client

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.candle_reads import PIPELINE_MEMBERS
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.members import member_of
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Layout, Scope

pytestmark = pytest.mark.contract

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
KEY = "candles:1:1:BTC-USD:1m"
UNLIMITED = Retention(0, 0)


def at(slot: int) -> int:
    return T0 + slot * MINUTE


def candle(slot: int, price: float = 88_000.0, volume: float = 1.5, sequence: int | None = None) -> Candle:
    return Candle(at(slot), price, price, price, price, volume, sequence)


def window(slots: int) -> Interval:
    return Interval(T0, at(slots))


async def put(redis, *candles: Candle, series: Series = BTC) -> None:
    await redis.zadd(KEY, {member_of(series, one): one.timestamp for one in candles})


async def held(redis) -> list[tuple[int, dict]]:
    found = await redis.zrange(KEY, 0, -1, withscores=True)
    return [(int(score), json.loads(member)) for member, score in found]


@pytest.fixture(params=Layout, autouse=True)
def layout(request, monkeypatch):
    """Give all names of this file the forms of each layout."""
    scope = Scope(1, 1, "test", request.param)
    names = {"SCOPE": scope, "KEY": scope.candle_key(BTC)}
    for name, value in names.items():
        monkeypatch.setitem(globals(), name, value)
    return request.param


@pytest.fixture
def store(redis):
    return CandleStore(redis, SCOPE)


async def test_read_gives_candles_duplicates_and_what_is_no_candle(redis, store):
    await put(redis, candle(0), candle(1), candle(1, volume=2.0), candle(5))
    foreign = member_of(Series("ETH-USD", Timeframe.M1), candle(2))
    await redis.zadd(KEY, {foreign: at(2), "{broken": at(3)})
    (read,) = await store.read([(BTC, window(5))])
    # slot 5 is the window's end and stays out
    assert list(read.timestamps) == [at(0), at(1), at(1)]
    assert list(read.duplicates) == [at(1)]
    assert list(read.malformed) == [at(2), at(3)]
    assert read.error is None


async def test_read_keeps_one_series_error_to_itself(redis, store):
    await redis.set(SCOPE.candle_key(Series("ETH-USD", Timeframe.M1)), "no sorted set")
    await put(redis, candle(0))
    eth, btc = await store.read([(Series("ETH-USD", Timeframe.M1), window(1)), (BTC, window(1))])
    assert eth.error is not None
    assert eth.error.code == "WRONGTYPE"
    assert list(btc.timestamps) == [at(0)]


async def test_read_of_a_long_interval_joins_its_pieces(redis, store):
    slots = PIPELINE_MEMBERS * 2 + 7
    await put(redis, *(candle(slot) for slot in range(slots) if slot != PIPELINE_MEMBERS))
    (read,) = await store.read([(BTC, window(slots))])
    assert list(read.timestamps) == [at(slot) for slot in range(slots) if slot != PIPELINE_MEMBERS]


@pytest.mark.parametrize("slots", [2, 5, PIPELINE_MEMBERS + 3])
async def test_a_read_is_whole_with_one_candle_a_slot_and_nothing_else(redis, store, slots):
    async def is_whole() -> bool:
        (read,) = await store.read([(BTC, window(slots))])
        if read.is_whole:
            assert list(read.timestamps) == [at(slot) for slot in range(slots)]
        return bool(read.is_whole)

    await put(redis, *(candle(slot) for slot in range(slots)))
    assert await is_whole()
    await put(redis, candle(slots - 1, volume=2.0))
    assert not await is_whole()
    await redis.zremrangebyscore(KEY, at(slots - 1), at(slots - 1))
    assert not await is_whole()
    # a duplicate makes up for the gap in number only
    await put(redis, candle(0, volume=2.0))
    assert not await is_whole()
    await redis.delete(KEY)
    await put(redis, *(candle(slot) for slot in range(slots)))
    await redis.zadd(KEY, {"{broken": at(0) + 1})
    assert not await is_whole()


async def test_a_read_with_a_filler_is_not_whole(redis, store):
    slots = PIPELINE_MEMBERS + 3
    fillers = [candle(slot, volume=0.0) for slot in (3, slots - 1)]
    await put(redis, *(candle(slot) for slot in range(slots) if slot not in {3, slots - 1}), *fillers)
    (read,) = await store.read([(BTC, window(slots))])
    assert list(read.timestamps) == [at(slot) for slot in range(slots)]
    assert (list(read.fillers), read.is_whole) == ([at(3), at(slots - 1)], False)


async def test_nothing_is_said_of_an_empty_interval(redis, store):
    await put(redis, candle(0))
    empty, one = await store.read([(BTC, Interval(at(0), at(0))), (BTC, window(1))])
    assert (list(empty.timestamps), empty.is_whole, empty.error) == ([], False, None)
    assert one.is_whole


async def test_merge_fills_absent_slots_and_keeps_what_is_there(redis, store):
    live = candle(1, price=90_000.5, sequence=7)
    same = candle(2)
    await put(redis, live, same)
    outcome = await store.merge(BTC, [candle(0), candle(1), candle(2), candle(3)], UNLIMITED)
    assert outcome.inserted == (at(0), at(3))
    assert outcome.present == (at(2),)
    assert outcome.differing == (at(1),)
    found = await held(redis)
    assert [score for score, _ in found] == [at(slot) for slot in range(4)]
    assert found[1][1]["open"] == 90_000.5
    assert found[1][1]["sequenceNum"] == 7


async def test_merge_compares_numbers_not_texts(redis, store):
    member = member_of(BTC, candle(0)).replace("88000", "88000.0").replace("1.5", "1.50")
    await redis.zadd(KEY, {member: at(0)})
    outcome = await store.merge(BTC, [candle(0)], UNLIMITED)
    assert outcome.present == (at(0),)
    assert len(await held(redis)) == 1


@pytest.mark.parametrize(
    ("rivals", "winner"),
    [
        ([candle(0, 1.0, volume=1.0, sequence=9), candle(0, 2.0, volume=3.0)], 2.0),
        ([candle(0, 1.0, volume=3.0, sequence=4), candle(0, 2.0, volume=3.0, sequence=5)], 2.0),
        ([candle(0, 1.0, volume=3.0), candle(0, 2.0, volume=3.0, sequence=5)], 2.0),
        ([candle(0, price, volume=price) for price in (3.0, 1.0, 4.0, 2.0)], 4.0),
    ],
)
async def test_duplicates_leave_the_greatest_volume_then_the_greatest_sequence(redis, store, rivals, winner):
    await put(redis, *rivals)
    outcome = await store.merge(BTC, [], UNLIMITED, duplicated=[at(0)])
    assert outcome.extra_removed == len(rivals) - 1
    assert [member["open"] for _, member in await held(redis)] == [winner]


async def test_merge_takes_the_place_of_what_is_no_candle(redis, store):
    await redis.zadd(KEY, {member_of(BTC, candle(0)).replace("1.5", "null"): at(0), "{broken": at(1)})
    outcome = await store.merge(BTC, [candle(0)], UNLIMITED)
    assert outcome.inserted == (at(0),)
    assert outcome.foreign_removed == 1
    found = await redis.zrange(KEY, 0, -1)
    # the slot that nobody has a candle for keeps what it holds
    assert found == [member_of(BTC, candle(0)).encode(), b"{broken"]


async def test_a_member_off_the_grid_is_of_the_slot_its_score_falls_in(redis, store):
    late, last = at(1) + 500, at(3) - 1
    await put(redis, candle(2))
    strays = [member_of(BTC, candle(0)).replace(str(T0), str(score)) for score in (late, last)]
    await redis.zadd(KEY, dict(zip(strays, (late, last), strict=True)))
    (read,) = await store.read([(BTC, window(3))])
    assert (list(read.timestamps), list(read.malformed)) == ([at(2)], [at(1), at(2)])
    assert await store.copies(BTC, window(3)) == {}
    outcome = await store.merge(BTC, [candle(1)], UNLIMITED, duplicated=[at(2)])
    assert (outcome.inserted, outcome.foreign_removed) == ((at(1),), 2)
    assert [score for score, _ in await held(redis)] == [at(1), at(2)]
    entries = await redis.xrange(SCOPE.journal_key(BTC))
    told = [(fields[b"why"], fields[b"start"], fields[b"old"].decode()) for _, fields in entries]
    assert told == [(b"foreign", b"%d" % at(slot), stray) for slot, stray in zip((1, 2), strays, strict=True)]


@pytest.mark.parametrize(
    ("volume", "price", "outcome"),
    [
        (61.20000000000001, 88_000.0, "present"),
        (61.2 * (1 + 9e-9), 88_000.0, "present"),
        (61.2 * (1 + 2e-8), 88_000.0, "differing"),
        (0.001, 88_000.0, "differing"),
        (61.2, 88_000.00000000001, "differing"),
    ],
)
async def test_merge_takes_a_feeder_s_sum_for_the_volume_it_is(redis, store, volume, price, outcome):
    await put(redis, candle(0, price, volume))
    done = await store.merge(BTC, [candle(0, volume=61.2)], UNLIMITED)
    assert getattr(done, outcome) == (at(0),)


async def test_merge_refuses_what_retention_would_drop(redis, store):
    await put(redis, *(candle(slot) for slot in range(10, 14)))
    outcome = await store.merge(BTC, [candle(0), candle(9), candle(15)], Retention(6, 0))
    # 15 joins the four newer than 9; with 9 that makes six, and 0 would be the seventh
    assert outcome.inserted == (at(9), at(15))
    assert outcome.refused == (at(0),)


async def test_embedded_server_is_capped_by_the_engine(redis, store):
    await put(redis, *(candle(slot) for slot in range(6)))
    await store.merge(BTC, [candle(7), candle(8)], Retention(6, 0, trim=True))
    assert [score for score, _ in await held(redis)] == [at(slot) for slot in (2, 3, 4, 5, 7, 8)]


@pytest.mark.parametrize(
    ("before_ms", "ttl_s", "after_ms"),
    [
        (None, 100, 100_000),  # a key made here gets the configured life
        (50_000, 100, 100_000),  # a life that is there is prolonged
        (200_000, 100, 200_000),  # and never cut short
        (-1, 100, -1),  # a key without one stays without
        (50_000, 0, 50_000),  # nothing configured, nothing changed
        (None, 0, -1),
    ],
)
async def test_merge_and_the_life_of_a_key(redis, store, before_ms, ttl_s, after_ms):
    if before_ms is not None:
        await put(redis, candle(0))
        if before_ms > 0:
            await redis.pexpire(KEY, before_ms)
    await store.merge(BTC, [candle(1)], Retention(0, ttl_s))
    left = await redis.pttl(KEY)
    assert left == after_ms if after_ms == -1 else after_ms - 10_000 < left <= after_ms


async def test_each_repaired_range_is_announced_once(redis, redis_url, store):
    await put(redis, candle(2))
    with plain_client(redis_url) as plain, plain.pubsub() as listener:
        listener.subscribe(SCOPE.repaired_channel(BTC))
        listener.get_message(timeout=5)
        await store.merge(BTC, [candle(slot) for slot in (0, 1, 2, 3)], UNLIMITED)
        await store.merge(BTC, [candle(3)], UNLIMITED)
        await redis.publish(SCOPE.repaired_channel(BTC), "end")
        heard = []
        while (message := listener.get_message(timeout=5)) is not None and message["data"] != b"end":
            heard.append(json.loads(message["data"]))
    assert heard == [
        {"start": at(0), "stop": at(2), "count": 2},
        {"start": at(3), "stop": at(4), "count": 1},
    ]


async def test_merge_survives_a_server_that_forgot_the_script(redis, store):
    await store.merge(BTC, [candle(0)], UNLIMITED)
    await redis.script_flush()
    assert (await store.merge(BTC, [candle(1)], UNLIMITED)).inserted == (at(1),)


async def test_long_merge_goes_in_parts(redis, store):
    outcome = await store.merge(BTC, [candle(slot) for slot in range(1_000)], UNLIMITED)
    assert len(outcome.inserted) == 1_000
    assert await redis.zcard(KEY) == 1_000


async def test_merging_beside_a_feeder_at_full_speed_loses_nothing_live(redis, store):
    """A feeder as the real one writes (remove, then add, each its own round trip) on the slots we fill."""
    draw = random.Random(7)
    written: dict[int, float] = {}

    async def feed() -> None:
        for number in range(600):
            slot = draw.randrange(20)
            one = candle(slot, 100.0 + number, volume=10.0 + number, sequence=number)
            await redis.zremrangebyscore(KEY, one.timestamp, one.timestamp)
            await redis.zadd(KEY, {member_of(BTC, one): one.timestamp})
            written[slot] = one.open

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        for _ in range(150):
            await store.merge(BTC, [candle(slot, 1.0, volume=0.5) for slot in range(20)], UNLIMITED)
    await store.merge(BTC, [], UNLIMITED, duplicated=[at(slot) for slot in range(20)])
    found = await held(redis)
    assert [score for score, _ in found] == [at(slot) for slot in range(20)]
    lost = [slot for slot, price in written.items() if found[slot][1]["open"] != price]
    assert lost == []

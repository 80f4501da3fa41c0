"""Digests of verified candles on a real server: noted with a merge, and only of what is there."""

from __future__ import annotations

import pytest
from tests.conftest import plain_client
from tests.integration.verified_bars import block_fields_of

from reconciler_engine.detection.noted import BLOCK_BYTES
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import OLD_ROW_MS, Answer, Venue
from reconciler_engine.planning.audit import Copy, Doubt, values_of
from reconciler_engine.planning.verification import DEFAULT_SETTLE_MS
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.journal import Journal, Why
from reconciler_engine.store.members import member_of
from reconciler_engine.store.merge_script import MergeOutcome, SeriesWrite
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import block_fields, decode_blocks, digest_of, oldest_instants

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
CANDLES = "candles:1:1:BTC-USD:1m"
KEY = "{candles:1:1:BTC-USD:1m}:evidence"
UNLIMITED = Retention(0, 0)
LATER = T0 + 86_400_000


def at(slot: int) -> int:
    return T0 + slot * MINUTE


def span(first: int, stop: int) -> Interval:
    return Interval(at(first), at(stop))


def candle(slot: int, volume: float = 1.5, sequence: int | None = None) -> Candle:
    return Candle(at(slot), 88_000.0, 88_001.0, 87_999.0, 88_000.5, volume, sequence)


def text(slot: int, volume: float = 1.5, sequence: int | None = None) -> bytes:
    return member_of(BTC, candle(slot, volume, sequence)).encode()


def answer(*rows: int, asked: Interval = span(0, 120), when: int = LATER) -> Answer:  # noqa: B008 (it is immutable)
    return Answer(asked, when, Intervals.of_slots([at(row) for row in rows], MINUTE))


@pytest.fixture
def candles(redis):
    return CandleStore(redis, SCOPE)


async def put(redis, *members: tuple[int, bytes]) -> None:
    for slot, member in members:
        await redis.zadd(CANDLES, {member: at(slot)})


async def verified(redis, slots: int = 120) -> dict[int, bytes]:
    """Digests by slot, as they are noted."""
    names = block_fields(span(0, slots), MINUTE)
    bodies = await redis.execute_command("HMGET", KEY, *names)
    found = decode_blocks({name: body or b"" for name, body in zip(names, bodies, strict=True)}, MINUTE)
    return {(open_time - T0) // MINUTE: one.digest for open_time, one in found.items()}


async def confirm(candles, *rows: int, present: dict[int, bytes], doubts=(), new=(), **options):
    """Merge an answer about two hours that has these rows, beside members as they were read."""
    slots = Intervals.of_slots(sorted(at(slot) for slot in present), MINUTE)
    members = {at(slot): member for slot, member in present.items()}
    return await candles.merge_answer(
        BTC, [candle(slot) for slot in new], UNLIMITED, answer(*rows, **options), slots, members=members,
        doubts=doubts, venue=Venue(newest=LATER, has_reference=True),
    )  # fmt: skip


async def test_an_answer_verifies_what_it_inserts_and_what_it_finds_equal(redis, candles):
    await put(redis, (3, text(3)), (61, text(61, sequence=7)))
    await confirm(candles, 3, 4, 61, present={3: text(3), 61: text(61, sequence=7)}, new=[4])
    assert await verified(redis) == {
        3: digest_of(text(3)),
        4: digest_of(text(4)),
        61: digest_of(text(61, sequence=7)),
    }
    assert {len(body) for body in await redis.execute_command("HMGET", KEY, *block_fields(span(0, 120), MINUTE))} == {
        BLOCK_BYTES
    }


async def test_a_digest_tells_when_the_exchange_was_asked(redis, candles):
    await put(redis, (3, text(3)))
    await confirm(candles, 3, present={3: text(3)})
    await confirm(candles, 4, present={}, new=[4], when=LATER + 5_000, asked=span(4, 5))
    (name,) = block_fields(span(3, 5), MINUTE)
    found = decode_blocks({name: await redis.hget(KEY, name)}, MINUTE)
    assert {(open_time - T0) // MINUTE: one.at for open_time, one in found.items()} == {3: LATER, 4: LATER + 5_000}


async def test_a_repaired_candle_is_verified_and_a_doubted_one_is_not(redis, candles):
    await put(redis, (3, text(3, 0.5)), (4, text(4, 9.0)))
    doubts = [Doubt(candle(3), Copy(text(3, 0.5), values_of(candle(3, 0.5))), yields=True)]
    doubts += [Doubt(candle(4), Copy(text(4, 9.0), values_of(candle(4, 9.0))), yields=False)]
    proven = await confirm(candles, 3, 4, present={3: text(3, 0.5), 4: text(4, 9.0)}, doubts=doubts)
    assert proven.outcome.changed == (at(3),)
    assert await verified(redis) == {3: digest_of(text(3))}


async def test_a_verified_candle_that_gives_way_is_journalled_as_rewritten(redis, redis_url, candles):
    await put(redis, (3, text(3)))
    await confirm(candles, 3, present={3: text(3)})
    await put(redis, (4, text(4)))
    yielding = {at(slot): text(slot) for slot in (3, 4)}
    new = [candle(3, 2.5), candle(4, 2.5)]
    write = SeriesWrite(BTC, UNLIMITED, new, yielding=yielding, by="run", announce=True)
    with plain_client(redis_url) as plain, plain.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(SCOPE.repaired_channel(BTC))
        listener.get_message(timeout=5)
        outcome = await write.run(redis, SCOPE)
        heard = listener.get_message(timeout=5)
    assert isinstance(outcome, MergeOutcome)
    assert (outcome.rewritten, outcome.changed) == ((at(3),), (at(4),))
    changes = await Journal(redis, SCOPE).read([BTC], since=0, limit=9)
    assert {one.start: one.why for one in changes} == {at(3): Why.REWRITTEN, at(4): Why.REPAIRED}
    assert heard["data"] == b'{"start":%d,"stop":%d,"count":2}' % (at(3), at(5))


async def test_a_member_that_changed_after_it_was_compared_is_not_verified(redis, candles):
    await put(redis, (3, text(3, sequence=8)), (5, text(5)), (5, text(5, sequence=1)))
    await confirm(candles, 3, 5, 6, present={3: text(3, sequence=7), 5: text(5), 6: text(6)})
    assert await verified(redis) == {}


async def test_a_candle_that_came_first_is_not_verified_by_one_that_was_offered(redis, candles):
    await put(redis, (4, text(4, sequence=2)))
    await confirm(candles, 4, present={}, new=[4])
    assert await verified(redis) == {}


async def test_a_bar_younger_than_the_settling_time_is_not_verified(redis, candles):
    members = {slot: text(slot) for slot in (3, 4)}
    await put(redis, *members.items())
    await confirm(candles, 3, 4, present=members, when=at(4) + DEFAULT_SETTLE_MS)
    assert await verified(redis) == {3: digest_of(text(3))}


async def test_an_answer_that_lacks_a_known_candle_verifies_nothing(redis, candles):
    members = {slot: text(slot) for slot in (3, 4)}
    await put(redis, *members.items())
    proven = await confirm(candles, 3, 9, present=members, new=[9])
    assert proven.verdict.is_contradicted
    assert await verified(redis) == {}


async def test_the_newest_row_verifies_only_where_a_later_bar_was_seen(redis, candles):
    members = {slot: text(slot) for slot in (3, 4)}
    await put(redis, *members.items())
    slots = Intervals.of_slots([at(3), at(4)], MINUTE)
    by_open_time = {at(slot): member for slot, member in members.items()}
    soon = at(4) + DEFAULT_SETTLE_MS + MINUTE
    await candles.merge_answer(BTC, (), UNLIMITED, answer(3, 4, when=soon), slots, members=by_open_time)
    assert set(await verified(redis)) == {3}
    an_hour = at(5) + OLD_ROW_MS
    await candles.merge_answer(BTC, (), UNLIMITED, answer(3, 4, when=an_hour), slots, members=by_open_time)
    assert set(await verified(redis)) == {3, 4}


async def test_blocks_go_with_their_members(redis, candles):
    kept = Retention(3, 0, trim=True)
    for slot in (0, 60, 120, 180):
        await candles.merge_answer(
            BTC, [candle(slot)], kept, answer(slot, asked=span(slot, slot + 1)), NOTHING,
            venue=Venue(newest=LATER, has_reference=True),
        )  # fmt: skip
    names = {name.decode() for name in await redis.hkeys(KEY) if name.startswith(b"v")}
    assert names == set(block_fields(span(60, 181), MINUTE))


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x02" + bytes(BLOCK_BYTES - 1), bytes(BLOCK_BYTES + 1)])
async def test_a_body_that_is_not_a_block_verifies_nothing_and_is_written_anew(redis, candles, body):
    (name,) = block_fields(span(0, 1), MINUTE)
    await redis.hset(KEY, name, body)
    assert await verified(redis) == {}
    await confirm(candles, 3, present={}, new=[3])
    assert set(await verified(redis)) == {3}


def test_the_fields_of_an_interval_are_those_of_the_blocks_it_touches():
    first = T0 // (60 * MINUTE)
    assert block_fields(span(59, 61), MINUTE) == [f"v{first}", f"v{first + 1}"]
    assert block_fields(span(60, 120), MINUTE) == [f"v{first + 1}"]
    assert block_fields(span(60, 60), MINUTE) == []


def test_the_oldest_verification_is_told_a_digest_without_an_instant_is_older():
    fields = block_fields_of({at(slot): text(slot) for slot in (0, 3)}, MINUTE, at=1_000)
    later = block_fields_of({at(7): text(7)}, MINUTE, at=2_000)
    (name,) = fields
    assert oldest_instants(fields) == {T0 // MINUTE // 60: 1_000_000}
    assert oldest_instants(later) == {T0 // MINUTE // 60: 2_000_000}
    assert oldest_instants({name: block_fields_of({at(7): text(7)}, MINUTE, at=0)[name]}) == {T0 // MINUTE // 60: 0}
    assert oldest_instants({name: b"", f"{name}1": b"\2" + fields[name][1:]}) == {}

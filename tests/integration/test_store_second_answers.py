"""Rows that wait for a second answer, on a real server: kept beside the evidence, in the merge that judges them."""

from __future__ import annotations

import pytest

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.audit import AuditRules, Copy, find_doubts
from reconciler_engine.planning.ledger import Knowledge, Reason
from reconciler_engine.planning.sightings import APART_MS
from reconciler_engine.planning.verification import DEFAULT_SETTLE_MS
from reconciler_engine.store.candles import CandleStore, ProvenMerge
from reconciler_engine.store.evidence import EvidenceStore, LedgerRead
from reconciler_engine.store.members import member_of
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
PAGE = Interval(T0, T0 + 10 * MINUTE)
FIRST = PAGE.stop + DEFAULT_SETTLE_MS
SECOND = FIRST + APART_MS
UNLIMITED = Retention(0, 0)


def candle(slot: int, volume: float = 2.0) -> Candle:
    return Candle(T0 + slot * MINUTE, 10.0, 12.0, 9.0, 11.0, volume)


@pytest.fixture
def candles(redis):
    return CandleStore(redis, SCOPE)


async def write(redis, *new: Candle) -> None:
    """Write candles as a feeder does, each in the place of the one in its slot."""
    for one in new:
        await redis.zremrangebyscore(SCOPE.candle_key(BTC), one.timestamp, one.timestamp)
        await redis.zadd(SCOPE.candle_key(BTC), {member_of(BTC, one): one.timestamp})


async def look(redis) -> tuple[dict[int, Copy], LedgerRead]:
    """Read what a page reads before it asks."""
    (read,) = await EvidenceStore(redis, SCOPE).read([(BTC, PAGE)])
    return await CandleStore(redis, SCOPE).copies(BTC, PAGE), read


async def merge(
    candles: CandleStore, seen: tuple[dict[int, Copy], LedgerRead], at: int, verified: Intervals = NOTHING
) -> ProvenMerge:
    """Merge an answer with the exchange's candles of the page, asked for at an instant."""
    copies, known = seen
    doubts = find_doubts(copies, map(candle, range(10)), at, MINUTE, AuditRules(repairs=True))
    answer, present = Answer(PAGE, at, Intervals([PAGE])), Intervals.of_slots(sorted(copies), MINUTE)
    members = {slot: one.member for slot, one in copies.items()}
    return await candles.merge_answer(
        BTC, [], UNLIMITED, answer, present, venue=Venue(newest=at), known=known, doubts=doubts, members=members,
        verified=verified,
    )  # fmt: skip


async def knowledge(redis) -> Knowledge:
    return (await look(redis))[1].known


def slots_of(merged: ProvenMerge) -> list[int]:
    """Slots in which a candle gave way."""
    return [(at - T0) // MINUTE for at in merged.outcome.changed]


async def test_a_doubled_candle_gives_way_to_the_second_answer(redis, candles):
    await write(redis, *(candle(slot) for slot in range(10)), candle(3, 4.0), candle(5, 1.0))
    first = await merge(candles, await look(redis), FIRST)
    assert (slots_of(first), first.doubted) == ([5], 2)
    known = await knowledge(redis)
    assert [(one.slot, one.first) for one in known.waits] == [(candle(3).timestamp, FIRST)]
    assert [one.finding.reason for one in known.ledger.findings] == [Reason.SECOND_ANSWER]
    # Merged once more, as after an answer of Redis that was lost: it is the same answer.
    assert slots_of(await merge(candles, await look(redis), FIRST)) == []
    assert slots_of(await merge(candles, await look(redis), SECOND)) == [3]
    known = await knowledge(redis)
    assert (known.waits, known.ledger.findings) == ((), ())
    members = await redis.zrange(SCOPE.candle_key(BTC), 0, -1)
    assert members == [member_of(BTC, candle(slot)).encode() for slot in range(10)]


async def test_two_workers_that_wait_for_one_series_keep_both_waits(redis, candles):
    await write(redis, *(candle(slot) for slot in range(10)), candle(3, 4.0))
    stale = await look(redis)
    await merge(candles, stale, FIRST)
    await write(redis, candle(6, 4.0))
    copies, _ = await look(redis)
    later = FIRST + MINUTE
    await merge(candles, (copies, stale[1]), later)
    waits = [(one.slot, one.first) for one in (await knowledge(redis)).waits]
    assert waits == [(candle(3).timestamp, FIRST), (candle(6).timestamp, later)]


async def test_a_candle_written_since_neither_waits_nor_gives_way(redis, candles):
    await write(redis, *(candle(slot) for slot in range(10)), candle(3, 4.0), candle(6, 4.0))
    await merge(candles, await look(redis), FIRST)
    seen = await look(redis)
    await write(redis, candle(3, 5.0))
    assert slots_of(await merge(candles, seen, SECOND)) == [6]
    # The wait of the slot that moved goes on: the exchange's rows agree, though another candle is written meanwhile.
    assert [one.slot for one in (await knowledge(redis)).waits] == [candle(3).timestamp]
    assert slots_of(await merge(candles, await look(redis), SECOND + 1)) == [3]


async def test_an_answer_that_denies_a_verified_candle_replaces_none_at_first(redis, candles):
    await write(redis, *(candle(slot) for slot in range(10)), candle(3, 1.0), candle(6, 1.0))
    verified = Intervals.of_slots([candle(3).timestamp], MINUTE)
    assert slots_of(await merge(candles, await look(redis), FIRST, verified)) == []
    assert slots_of(await merge(candles, await look(redis), SECOND, verified)) == [3, 6]


async def test_a_contested_candle_keeps_no_row_waiting(redis, candles):
    await write(redis, *(candle(slot) for slot in range(10)))
    for number in range(3):
        await write(redis, candle(3, 1.0 + number / 10))
        assert slots_of(await merge(candles, await look(redis), FIRST + number)) == [3]
    await write(redis, candle(3, 4.0))
    assert slots_of(await merge(candles, await look(redis), SECOND)) == []
    known = await knowledge(redis)
    assert (known.waits, [one.finding.reason for one in known.ledger.findings]) == ((), [Reason.CONTESTED])

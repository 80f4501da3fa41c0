"""Candles in doubt: suspect, repaired, contested, accepted."""

from __future__ import annotations

import pytest
from tests.integration.proved_slots import (
    BTC,
    LATER,
    MINUTE,
    REFERENCE,
    T0,
    UNLIMITED,
    answer,
    at,
    candle,
    candle_store,
    evidence_store,
    known,
    names,
    span,
    states,
    use_layout,
)

from reconciler_engine.errors import StoreError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.audit import Copy, Doubt, values_of
from reconciler_engine.planning.hand_marks import accept, digest_of
from reconciler_engine.planning.ledger import Finding, Reason, State
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.findings import DAY_MS
from reconciler_engine.store.journal import Why
from reconciler_engine.store.members import member_of
from reconciler_engine.store.merge_script import SeriesWrite
from reconciler_engine.store.scope import Layout

pytestmark = pytest.mark.contract

layout = pytest.fixture(params=Layout, autouse=True)(use_layout)
store = pytest.fixture(evidence_store)
candles = pytest.fixture(candle_store)


def doubt(slot: int, held: Candle, *, yields: bool = False) -> Doubt:
    return Doubt(candle(slot), Copy(member_of(BTC, held).encode(), values_of(held)), yields)


async def put(redis, *candles: Candle) -> None:
    await redis.zadd(names.candles, {member_of(BTC, one): one.timestamp for one in candles})


async def audit(candles: CandleStore, *doubts: Doubt):
    return await candles.merge_answer(BTC, [], UNLIMITED, answer(*range(10)), NOTHING, doubts=doubts)


async def test_copies_are_the_candles_alone_in_their_slot(redis):
    live = Candle(at(1), 2.0, 4.0, 1.0, 3.0, 0.5, 7)
    await put(redis, candle(0), live, candle(2), candle(2, 1.0), candle(3), candle(9))
    await redis.zadd(names.candles, {"{broken": at(3), "alone": at(4)})
    other = member_of(BTC, candle(5)).replace("88000", "88000.0")
    await redis.zadd(names.candles, {other: at(5)})
    assert await CandleStore(redis, names.scope).copies(BTC, span(0, 9)) == {
        at(0): Copy(member_of(BTC, candle(0)).encode(), values_of(candle(0))),
        at(1): Copy(member_of(BTC, live).encode(), (2.0, 4.0, 1.0, 3.0, 0.5)),
        at(5): Copy(other.encode(), values_of(candle(5))),
    }
    await redis.set(names.candles, "no sorted set")
    with pytest.raises(StoreError):
        await CandleStore(redis, names.scope).copies(BTC, span(0, 9))


async def test_a_doubted_candle_is_suspect_or_gives_way(redis, store, candles):
    await put(redis, *(candle(slot, 1.0) for slot in range(3)), candle(3))
    done = await audit(
        candles,
        doubt(0, candle(0, 1.0), yields=True),
        doubt(1, candle(1, 1.0)),
        doubt(2, candle(2, 1.0)),
    )
    assert (done.outcome.changed, done.doubted) == ((at(0),), 3)
    ledger = await known(store)
    assert states(ledger) == ".ss......."
    assert [stretch.finding.reason for stretch in ledger.findings] == [Reason.VALUES_DIFFER]
    assert await redis.zrange(names.candles, 0, 0) == [member_of(BTC, candle(0)).encode()]
    # the next answer agrees with what is there by now
    await redis.zremrangebyscore(names.candles, at(1), at(1))
    await put(redis, candle(1))
    await audit(candles, doubt(2, candle(2, 1.0)))
    assert states(await known(store)) == "..s......."


@pytest.mark.parametrize("yields", [False, True])
@pytest.mark.parametrize(
    "there",
    [
        [candle(4, 2.0)],  # another one by now
        [candle(4, 1.0), candle(4, 2.0)],  # not alone any more
        [],  # gone
    ],
)
async def test_what_was_written_since_is_neither_suspect_nor_replaced(redis, store, candles, yields, there):
    if there:
        await put(redis, *there)
    await put(redis, candle(5, 1.0))
    before = await redis.zrange(names.candles, 0, -1)
    done = await audit(candles, doubt(4, candle(4, 1.0), yields=yields), doubt(5, candle(5, 1.0)))
    assert done.doubted == 1
    assert states(await known(store)) == ".....s...."
    assert await redis.zrange(names.candles, 0, -1) == before


async def repair(redis, candles: CandleStore, slot: int, volume: float, when: int):
    """Write another candle as a feeder does; have an answer repair it."""
    held = Candle(at(slot), 88_000.0, 88_000.0, 88_000.0, 88_000.0, volume)
    await redis.zremrangebyscore(names.candles, at(slot), at(slot))
    await put(redis, held)
    doubts = [doubt(slot, held, yields=True)]
    return await candles.merge_answer(BTC, [], UNLIMITED, answer(*range(10), when=when), NOTHING, doubts=doubts)


async def test_a_slot_repaired_three_times_is_contested_and_left_alone(redis, store, candles):
    done = [await repair(redis, candles, 4, (time + 1) / 4, LATER + time) for time in range(4)]
    assert [one.outcome.changed for one in done] == [(at(4),)] * 3 + [()]
    finding = (await known(store)).at(at(4))
    assert finding == Finding(State.SUSPECT, Reason.CONTESTED, LATER + 2, LATER + 3, 2, LATER + 2 + DAY_MS)
    assert await redis.zrange(names.candles, 0, -1) == [member_of(BTC, candle(4)).replace("1.5", "1").encode()]
    after = await repair(redis, candles, 4, 1.25, LATER + 2 + DAY_MS)
    assert (after.outcome.changed, (await known(store)).at(at(4))) == ((at(4),), None)


async def test_two_workers_that_repair_one_slot_count_both(redis, store, candles):
    early = await store.read([(BTC, span(0, 10))])
    await repair(redis, candles, 4, 0.5, LATER)
    held = candle(5, 1.0)
    await put(redis, held)
    await candles.merge_answer(
        BTC, [], UNLIMITED, answer(*range(10)), NOTHING, doubts=[doubt(5, held, yields=True)], known=early[0]
    )
    (read,) = await store.read([(BTC, span(0, 10))])
    assert [(one.slot, one.times) for one in read.known.repaired] == [(at(4), 1), (at(5), 1)]


async def accept_slot(store: EvidenceStore, slot: int, held: Candle):
    member = member_of(BTC, held).encode()
    slots = Intervals.of_slots([at(slot)], MINUTE)
    return await store.change(
        BTC,
        span(slot, slot + 1),
        UNLIMITED,
        lambda known: accept(known, slots, {at(slot): digest_of(member)}, 0),
        unmoved={at(slot): member},
        why=Why.MARKED,
    )


@pytest.mark.parametrize("yields", [False, True])
async def test_an_accepted_candle_is_not_doubted_until_it_changes(redis, store, candles, yields):
    held = candle(4, 1.0)
    await put(redis, held)
    await audit(candles, doubt(4, held))
    assert states(await known(store)) == "....s....."
    await accept_slot(store, 4, held)
    done = await audit(candles, doubt(4, held, yields=yields))
    assert (done.doubted, done.outcome.changed, states(await known(store))) == (0, (), "." * 10)
    await redis.delete(names.candles)
    await put(redis, candle(4, 2.0))
    members = {at(4): member_of(BTC, candle(4, 2.0)).encode()}
    await candles.merge_answer(
        BTC, [], UNLIMITED, answer(*range(10)), NOTHING, doubts=[doubt(4, candle(4, 2.0))], members=members
    )
    (read,) = await store.read([(BTC, span(0, 10))])
    assert (states(read.ledger), read.known.accepted) == ("....s.....", {})


async def test_a_candle_that_moved_meanwhile_is_not_accepted(redis, store):
    await put(redis, candle(4, 2.0))
    assert await accept_slot(store, 4, candle(4, 1.0)) is None
    assert await redis.exists(names.key) == 0


async def test_a_repair_whose_evidence_keeps_changing_is_not_made(redis, candles, monkeypatch):
    real = SeriesWrite.run

    async def beaten(self, client, scope):
        if self.known.ledger.findings:
            await redis.hset(names.key, str(T0 // DAY_MS), next(bodies))
        return await real(self, client, scope)

    bodies = (b"\x09" * number for number in range(1, 99))
    monkeypatch.setattr(SeriesWrite, "run", beaten)
    await put(redis, candle(0, 1.0), candle(1, 1.0))
    done = await audit(candles, doubt(0, candle(0, 1.0), yields=True), doubt(1, candle(1, 1.0)))
    assert (done.outcome.changed, done.doubted) == ((), 0)
    assert await redis.zrange(names.candles, 0, 0) == [member_of(BTC, candle(0, 1.0)).encode()]


async def test_what_was_read_before_is_read_again_only_where_it_changed(store, candles, monkeypatch):
    (early,) = await store.read([(BTC, span(0, 10))])
    (elsewhere,) = await store.read([(BTC, Interval(T0 - DAY_MS, T0))])
    reads = []
    real = EvidenceStore.read

    async def counted(self, wanted):
        reads.append(wanted)
        return await real(self, wanted)

    monkeypatch.setattr(EvidenceStore, "read", counted)
    await candles.merge_answer(
        BTC, [], UNLIMITED, answer(0, 9), NOTHING, slots=span(0, 5), venue=REFERENCE, known=early
    )
    assert reads == []
    assert states(await known(store)) == ".eeee....."
    reads.clear()
    # findings that somebody else wrote since are judged anew
    await candles.merge_answer(
        BTC, [], UNLIMITED, answer(0, 9), NOTHING, slots=span(5, 10), venue=REFERENCE, known=early
    )
    assert reads == []
    assert states(await known(store)) == ".eeeeeeee."
    reads.clear()
    # another day's says nothing about this one
    await candles.merge_answer(
        BTC, [], UNLIMITED, answer(0, 5, 9), NOTHING, slots=span(0, 10), venue=REFERENCE, known=elsewhere
    )
    assert len(reads) == 1
    assert states(await known(store)) == ".eeee.eee."


async def test_more_candles_than_a_call_takes_are_refused(candles):
    with pytest.raises(ValueError, match="301 candles in one answer; allowed: at most 300"):
        await candles.merge_answer(BTC, [candle(slot) for slot in range(301)], UNLIMITED, answer(), NOTHING)

"""The ledger on a real server: written with the merge or not at all, bounded, and never over a candle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis as redis_py
import trio
from redis.crc import key_slot
from tests.conftest import server_urls
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
    prove,
    span,
    states,
    use_layout,
)

from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.hand_marks import mark
from reconciler_engine.planning.ledger import Knowledge, Ledger, State
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.findings import DAY_MS
from reconciler_engine.store.members import member_of
from reconciler_engine.store.merge_script import EVIDENCE_LIFE_MS, SeriesWrite
from reconciler_engine.store.retention import DAYS_KEPT, Retention, days_kept
from reconciler_engine.store.scope import Layout, Scope

layout = pytest.fixture(params=Layout, autouse=True)(use_layout)
store = pytest.fixture(evidence_store)
candles = pytest.fixture(candle_store)


pytestmark = pytest.mark.contract


@pytest.mark.parametrize("timeframe", Timeframe)
def test_a_ledger_lives_in_its_candles_cluster_slot(timeframe):
    series = Series("BIP-20DEC30-CDE", timeframe)
    assert key_slot(names.scope.evidence_key(series).encode()) == key_slot(names.scope.candle_key(series).encode())
    assert names.scope.evidence_key(BTC) == names.key


async def test_candles_and_what_they_prove_go_in_together(redis, store, candles):
    await redis.zadd(names.candles, {member_of(BTC, candle(5, 90_000.5)): at(5)})
    done = await prove(candles, 0, 2, 5, 7)
    assert done.outcome.inserted == (at(0), at(2), at(7))
    assert done.outcome.differing == (at(5),)
    ledger = await known(store)
    assert states(ledger) == ".e.ee.e.mm"
    assert done.verdict.known.ledger == ledger
    assert await redis.zcard(names.candles) == 4


async def test_who_may_not_publish_is_told_and_leaves_nothing_half_done(redis, redis_url):
    servers = [redis_py.Redis.from_url(url) for url in server_urls(redis_url)]
    for server in servers:
        server.execute_command("ACL", "SETUSER", "mute", "on", ">pw", "allkeys", "allcommands", "resetchannels")
    try:
        async with TrioRedis.from_url(redis_url.replace("://", "://mute:pw@")) as client:
            done = await prove(CandleStore(client, names.scope), 0, 2)
    finally:
        for server in servers:
            server.execute_command("ACL", "DELUSER", "mute")
            server.close()
    assert "channel" in done.outcome.unannounced
    assert done.outcome.inserted == (at(0), at(2))
    assert states(await known(EvidenceStore(redis, names.scope))) == ".e.mmmmmmm"
    assert await redis.zcard(names.candles) == 2


async def test_a_merge_without_candles_proves_too(redis, store, candles):
    await prove(candles)
    assert states(await known(store)) == "m" * 10
    assert await redis.exists(names.candles) == 0


async def test_only_what_was_asked_for_is_read(store, candles):
    await prove(candles)
    assert states(await known(store, span(3, 5))) == "...mm....."
    assert await known(store, Interval(0, T0)) == Ledger()


async def test_a_candle_that_appears_wins_and_is_counted_as_late(redis, store, candles):
    await prove(candles, 0, 9)
    assert states(await known(store)) == ".eeeeeeee."
    done = await prove(candles, 0, 3, 4, 9, when=LATER + 3_600_000)
    assert done.verdict.late == 2
    assert await store.late(BTC) == 2
    assert states(await known(store)) == ".ee..eeee."
    assert await redis.zcard(names.candles) == 4


async def test_a_slot_that_was_filled_meanwhile_contradicts_the_answer(redis, store, candles):
    # the feeder wrote slot 3 after the cache was read; slots 5 to 7 hold something, but no candle
    await redis.zadd(names.candles, {member_of(BTC, candle(3)): at(3), "{broken": at(5)})
    await redis.zadd(names.candles, {member_of(BTC, candle(7)).replace('"volume":1.5', '"volume":null'): at(7)})
    foreign = member_of(Series("ETH-USD", Timeframe.M1), candle(6))
    await redis.zadd(names.candles, {foreign: at(6)})
    done = await prove(candles, 0, 9)
    assert done.outcome.inserted == (at(0), at(9))
    assert done.verdict.lacking == Intervals([span(3, 4)])
    assert states(await known(store)) == "." * 10
    assert done.verdict.absent == NOTHING


async def test_a_page_over_midnight_is_written_by_day(redis, store, candles):
    asked = Interval(T0 - 3 * MINUTE, T0 + 3 * MINUTE)
    await prove(candles, slots=asked, asked=asked)
    day = T0 // DAY_MS
    assert sorted(await redis.hkeys(names.key)) == [str(day - 1).encode(), str(day).encode(), b"origin"]
    assert states(await known(store, asked), slots=6, first=-3) == "m" * 6


async def test_forgotten_days_leave_no_field(redis, store, candles):
    await prove(candles)
    changed = await store.change(
        BTC, span(0, 10), UNLIMITED, lambda ledger: mark(ledger, Intervals([span(0, 10)]), State.UNKNOWN, T0)
    )
    assert changed == Knowledge()
    assert await redis.exists(names.key) == 0


async def test_a_change_by_hand_stays(store, candles):
    await prove(candles, 0, 9)
    spans = Intervals([span(2, 4), span(20, 22)])
    await store.change(BTC, span(0, 30), UNLIMITED, lambda ledger: mark(ledger, spans, State.HALTED, LATER))
    assert states(await known(store, span(0, 30)), slots=23) == ".ehheeeee." + "." * 10 + "hh."


@pytest.mark.parametrize(
    ("max_candles", "ttl_s", "life_ms"),
    [
        (1_000, 86_400, EVIDENCE_LIFE_MS),
        (1_000, 90 * 86_400, 90 * DAY_MS),
        # as long as its candles may be there
        (100 * 1_440, 0, 101 * DAY_MS),
        (0, 0, DAYS_KEPT * DAY_MS),
    ],
)
async def test_a_ledger_has_a_life_and_every_proof_prolongs_it(redis, candles, max_candles, ttl_s, life_ms):
    await prove(candles)
    await redis.pexpire(names.key, 1_000)
    await candles.merge_answer(
        BTC, [], Retention(max_candles, ttl_s), answer(when=LATER + 1), NOTHING, slots=span(0, 10), venue=REFERENCE
    )
    assert life_ms - 10_000 < await redis.pttl(names.key) <= life_ms


async def test_a_ledger_keeps_the_days_of_its_candles_and_drops_the_oldest(redis, candles):
    two_days = Retention(1_441, 0)
    assert days_kept(two_days, MINUTE) == 3
    for day in (4, 0, 3, 1, 2):
        asked = span(day * 1_440, day * 1_440 + 10)
        await candles.merge_answer(
            BTC, [], two_days, answer(asked=asked, when=LATER + 9 * DAY_MS), NOTHING, slots=asked, venue=REFERENCE
        )
    first = T0 // DAY_MS
    assert sorted(await redis.hkeys(names.key)) == [*(str(first + day).encode() for day in (2, 3, 4)), b"origin"]


async def test_proofs_of_many_at_once_are_all_kept(store, candles):
    async def prove_part(first: int) -> None:
        part = span(first, first + 10)
        await candles.merge_answer(
            BTC, [candle(first)], UNLIMITED, answer(first, asked=part), NOTHING, slots=part, venue=REFERENCE
        )

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(prove_part, number * 10)
    ledger = await known(store, span(0, 120))
    assert states(ledger, slots=120) == ("." + "m" * 9) * 12


async def keep_changing(redis, monkeypatch) -> None:
    """Let somebody else change the evidence before each write of it."""
    real = SeriesWrite.run

    async def run(self, client, scope):
        if self.read:
            await redis.hset(names.key, str(T0 // DAY_MS), next(bodies))
        return await real(self, client, scope)

    bodies = (b"\x09" * number for number in range(1, 99))
    await redis.hset(names.key, str(T0 // DAY_MS), next(bodies))
    monkeypatch.setattr(SeriesWrite, "run", run)


async def test_evidence_given_up_lets_in_no_row_that_the_rules_leave_out(redis, candles, monkeypatch):
    await keep_changing(redis, monkeypatch)
    # An answer without the later candle that the cache has may have been cut in its newest row.
    await redis.zadd(names.candles, {member_of(BTC, candle(8)): at(8)})
    offered = [candle(slot) for slot in (0, 5)]
    present = Intervals([span(8, 9)])
    done = await candles.merge_answer(BTC, offered, UNLIMITED, answer(0, 5), present)
    assert done.outcome.inserted == (at(0),)


async def test_what_others_keep_changing_is_given_up_and_the_candles_go_in(redis, candles, monkeypatch):
    await keep_changing(redis, monkeypatch)
    done = await prove(candles, 0, 9)
    assert done.outcome.inserted == (at(0), at(9))
    assert done.verdict.known.ledger == Ledger()
    assert done.verdict.absent == ()


async def test_unreadable_evidence_counts_as_unknown_and_is_replaced(redis, store, candles, caplog):
    await redis.hset(names.key, str(T0 // DAY_MS), b"garbage")
    assert await known(store) == Ledger()
    assert "evidence unreadable" in caplog.text
    await prove(candles, 0, 9)
    assert states(await known(store)) == ".eeeeeeee."


async def test_nothing_is_merged_where_the_proof_cannot_be_written(redis, store, candles):
    await redis.set(names.key, "no hash")
    with pytest.raises(StoreError):
        await prove(candles, 0, 9)
    assert await redis.exists(names.candles) == 0
    (read,) = await store.read([(BTC, span(0, 10))])
    assert read.error is not None
    assert read.error.code == "WRONGTYPE"


async def test_nothing_is_proved_where_the_candles_cannot_be_written(redis, candles):
    await redis.set(names.candles, "no sorted set")
    with pytest.raises(StoreError):
        await prove(candles, *range(10))
    assert await redis.exists(names.key) == 0


async def test_a_merge_with_proof_does_what_a_bare_one_does(redis, candles):
    other = Scope(2, 2, "test", names.scope.layout)
    bare = CandleStore(redis, other)
    some = [candle(slot) for slot in range(0, 10, 2)]
    for retention in (Retention(3, 60), Retention(0, 0)):
        expected = await bare.merge(BTC, some, retention)
        done = await candles.merge_answer(
            BTC, some, retention, answer(*range(0, 10, 2)), NOTHING, slots=span(0, 10), venue=REFERENCE
        )
        assert replace(done.outcome, verified=()) == expected
    assert await redis.zrange(names.candles, 0, -1) == await redis.zrange(other.candle_key(BTC), 0, -1)

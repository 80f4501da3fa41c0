"""The ledger on a real server: written with the merge or not at all, bounded, and never over a candle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis as redis_py
import trio
from redis.crc import key_slot
from tests.conftest import server_urls

from reconciler_engine.errors import StoreError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.accepted import digest_of
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.audit import Copy, Doubt, values_of
from reconciler_engine.planning.hand_marks import accept, mark
from reconciler_engine.planning.ledger import Finding, Knowledge, Ledger, Reason, State
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.findings import DAY_MS
from reconciler_engine.store.journal import Why
from reconciler_engine.store.members import member_of
from reconciler_engine.store.merge_script import EVIDENCE_LIFE_MS, SeriesWrite
from reconciler_engine.store.retention import DAYS_KEPT, Retention, days_kept
from reconciler_engine.store.scope import Layout, Scope

pytestmark = pytest.mark.contract

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
CANDLES = "candles:1:1:BTC-USD:1m"
KEY = "{candles:1:1:BTC-USD:1m}:evidence"
UNLIMITED = Retention(0, 0)
LATER = T0 + 2 * DAY_MS
REFERENCE = Venue(has_reference=True)


def at(slot: int) -> int:
    return T0 + slot * MINUTE


def candle(slot: int, price: float = 88_000.0) -> Candle:
    return Candle(at(slot), price, price, price, price, 1.5)


def span(first: int, stop: int) -> Interval:
    return Interval(at(first), at(stop))


def states(ledger: Ledger, slots: int = 10, first: int = 0) -> str:
    found = [ledger.at(at(slot)) for slot in range(first, first + slots)]
    return "".join("." if one is None else one.state.value[0] for one in found)


def answer(*rows: int, asked: Interval = span(0, 10), when: int = LATER) -> Answer:  # noqa: B008 (it is immutable)
    return Answer(asked, when, Intervals.of_slots([at(row) for row in rows], MINUTE))


async def known(store: EvidenceStore, interval: Interval = span(0, 10), series: Series = BTC) -> Ledger:  # noqa: B008
    (read,) = await store.read([(series, interval)])
    assert read.error is None
    return read.ledger


@pytest.fixture(params=Layout, autouse=True)
def layout(request, monkeypatch):
    """Give all names of this file the forms of each layout."""
    scope = Scope(1, 1, "test", request.param)
    names = {"SCOPE": scope, "CANDLES": scope.candle_key(BTC), "KEY": scope.evidence_key(BTC)}
    for name, value in names.items():
        monkeypatch.setitem(globals(), name, value)
    return request.param


@pytest.fixture
def store(redis):
    return EvidenceStore(redis, SCOPE)


@pytest.fixture
def candles(redis):
    return CandleStore(redis, SCOPE)


async def prove(candles: CandleStore, *rows: int, slots: Interval = span(0, 10), **options):  # noqa: B008
    inside = [candle(row) for row in rows if at(row) in slots]
    return await candles.merge_answer(
        BTC, inside, UNLIMITED, answer(*rows, **options), NOTHING, slots=slots, venue=REFERENCE
    )


@pytest.mark.parametrize("timeframe", Timeframe)
def test_a_ledger_lives_in_its_candles_cluster_slot(timeframe):
    series = Series("BIP-20DEC30-CDE", timeframe)
    assert key_slot(SCOPE.evidence_key(series).encode()) == key_slot(SCOPE.candle_key(series).encode())
    assert SCOPE.evidence_key(BTC) == KEY


async def test_candles_and_what_they_prove_go_in_together(redis, store, candles):
    await redis.zadd(CANDLES, {member_of(BTC, candle(5, 90_000.5)): at(5)})
    done = await prove(candles, 0, 2, 5, 7)
    assert done.outcome.inserted == (at(0), at(2), at(7))
    assert done.outcome.differing == (at(5),)
    ledger = await known(store)
    assert states(ledger) == ".e.ee.e.mm"
    assert done.verdict.known.ledger == ledger
    assert await redis.zcard(CANDLES) == 4


async def test_who_may_not_publish_is_told_and_leaves_nothing_half_done(redis, redis_url):
    servers = [redis_py.Redis.from_url(url) for url in server_urls(redis_url)]
    for server in servers:
        server.execute_command("ACL", "SETUSER", "mute", "on", ">pw", "allkeys", "allcommands", "resetchannels")
    try:
        async with TrioRedis.from_url(redis_url.replace("://", "://mute:pw@")) as client:
            done = await prove(CandleStore(client, SCOPE), 0, 2)
    finally:
        for server in servers:
            server.execute_command("ACL", "DELUSER", "mute")
            server.close()
    assert "channel" in done.outcome.unannounced
    assert done.outcome.inserted == (at(0), at(2))
    assert states(await known(EvidenceStore(redis, SCOPE))) == ".e.mmmmmmm"
    assert await redis.zcard(CANDLES) == 2


async def test_a_merge_without_candles_proves_too(redis, store, candles):
    await prove(candles)
    assert states(await known(store)) == "m" * 10
    assert await redis.exists(CANDLES) == 0


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
    assert await redis.zcard(CANDLES) == 4


async def test_a_slot_that_was_filled_meanwhile_contradicts_the_answer(redis, store, candles):
    # the feeder wrote slot 3 after the cache was read; slots 5 to 7 hold something, but no candle
    await redis.zadd(CANDLES, {member_of(BTC, candle(3)): at(3), "{broken": at(5)})
    await redis.zadd(CANDLES, {member_of(BTC, candle(7)).replace('"volume":1.5', '"volume":null'): at(7)})
    foreign = member_of(Series("ETH-USD", Timeframe.M1), candle(6))
    await redis.zadd(CANDLES, {foreign: at(6)})
    done = await prove(candles, 0, 9)
    assert done.outcome.inserted == (at(0), at(9))
    assert done.verdict.lacking == Intervals([span(3, 4)])
    assert states(await known(store)) == "." * 10
    assert done.verdict.absent == NOTHING


async def test_a_page_over_midnight_is_written_by_day(redis, store, candles):
    asked = Interval(T0 - 3 * MINUTE, T0 + 3 * MINUTE)
    await prove(candles, slots=asked, asked=asked)
    day = T0 // DAY_MS
    assert sorted(await redis.hkeys(KEY)) == [str(day - 1).encode(), str(day).encode(), b"origin"]
    assert states(await known(store, asked), slots=6, first=-3) == "m" * 6


async def test_forgotten_days_leave_no_field(redis, store, candles):
    await prove(candles)
    changed = await store.change(
        BTC, span(0, 10), UNLIMITED, lambda ledger: mark(ledger, Intervals([span(0, 10)]), State.UNKNOWN, T0)
    )
    assert changed == Knowledge()
    assert await redis.exists(KEY) == 0


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
    await redis.pexpire(KEY, 1_000)
    await candles.merge_answer(
        BTC, [], Retention(max_candles, ttl_s), answer(when=LATER + 1), NOTHING, slots=span(0, 10), venue=REFERENCE
    )
    assert life_ms - 10_000 < await redis.pttl(KEY) <= life_ms


async def test_a_ledger_keeps_the_days_of_its_candles_and_drops_the_oldest(redis, candles):
    two_days = Retention(1_441, 0)
    assert days_kept(two_days, MINUTE) == 3
    for day in (4, 0, 3, 1, 2):
        asked = span(day * 1_440, day * 1_440 + 10)
        await candles.merge_answer(
            BTC, [], two_days, answer(asked=asked, when=LATER + 9 * DAY_MS), NOTHING, slots=asked, venue=REFERENCE
        )
    first = T0 // DAY_MS
    assert sorted(await redis.hkeys(KEY)) == [*(str(first + day).encode() for day in (2, 3, 4)), b"origin"]


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
            await redis.hset(KEY, str(T0 // DAY_MS), next(bodies))
        return await real(self, client, scope)

    bodies = (b"\x09" * number for number in range(1, 99))
    await redis.hset(KEY, str(T0 // DAY_MS), next(bodies))
    monkeypatch.setattr(SeriesWrite, "run", run)


async def test_evidence_given_up_lets_in_no_row_that_the_rules_leave_out(redis, candles, monkeypatch):
    await keep_changing(redis, monkeypatch)
    # An answer without the later candle that the cache has may have been cut in its newest row.
    await redis.zadd(CANDLES, {member_of(BTC, candle(8)): at(8)})
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
    await redis.hset(KEY, str(T0 // DAY_MS), b"garbage")
    assert await known(store) == Ledger()
    assert "evidence unreadable" in caplog.text
    await prove(candles, 0, 9)
    assert states(await known(store)) == ".eeeeeeee."


async def test_nothing_is_merged_where_the_proof_cannot_be_written(redis, store, candles):
    await redis.set(KEY, "no hash")
    with pytest.raises(StoreError):
        await prove(candles, 0, 9)
    assert await redis.exists(CANDLES) == 0
    (read,) = await store.read([(BTC, span(0, 10))])
    assert read.error is not None
    assert read.error.code == "WRONGTYPE"


async def test_nothing_is_proved_where_the_candles_cannot_be_written(redis, candles):
    await redis.set(CANDLES, "no sorted set")
    with pytest.raises(StoreError):
        await prove(candles, *range(10))
    assert await redis.exists(KEY) == 0


async def test_a_merge_with_proof_does_what_a_bare_one_does(redis, candles):
    other = Scope(2, 2, "test", SCOPE.layout)
    bare = CandleStore(redis, other)
    some = [candle(slot) for slot in range(0, 10, 2)]
    for retention in (Retention(3, 60), Retention(0, 0)):
        expected = await bare.merge(BTC, some, retention)
        done = await candles.merge_answer(
            BTC, some, retention, answer(*range(0, 10, 2)), NOTHING, slots=span(0, 10), venue=REFERENCE
        )
        assert replace(done.outcome, verified=()) == expected
    assert await redis.zrange(CANDLES, 0, -1) == await redis.zrange(other.candle_key(BTC), 0, -1)


def doubt(slot: int, held: Candle, *, yields: bool = False) -> Doubt:
    return Doubt(candle(slot), Copy(member_of(BTC, held).encode(), values_of(held)), yields)


async def put(redis, *candles: Candle) -> None:
    await redis.zadd(CANDLES, {member_of(BTC, one): one.timestamp for one in candles})


async def audit(candles: CandleStore, *doubts: Doubt):
    return await candles.merge_answer(BTC, [], UNLIMITED, answer(*range(10)), NOTHING, doubts=doubts)


async def test_copies_are_the_candles_alone_in_their_slot(redis):
    live = Candle(at(1), 2.0, 4.0, 1.0, 3.0, 0.5, 7)
    await put(redis, candle(0), live, candle(2), candle(2, 1.0), candle(3), candle(9))
    await redis.zadd(CANDLES, {"{broken": at(3), "alone": at(4)})
    other = member_of(BTC, candle(5)).replace("88000", "88000.0")
    await redis.zadd(CANDLES, {other: at(5)})
    assert await CandleStore(redis, SCOPE).copies(BTC, span(0, 9)) == {
        at(0): Copy(member_of(BTC, candle(0)).encode(), values_of(candle(0))),
        at(1): Copy(member_of(BTC, live).encode(), (2.0, 4.0, 1.0, 3.0, 0.5)),
        at(5): Copy(other.encode(), values_of(candle(5))),
    }
    await redis.set(CANDLES, "no sorted set")
    with pytest.raises(StoreError):
        await CandleStore(redis, SCOPE).copies(BTC, span(0, 9))


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
    assert await redis.zrange(CANDLES, 0, 0) == [member_of(BTC, candle(0)).encode()]
    # the next answer agrees with what is there by now
    await redis.zremrangebyscore(CANDLES, at(1), at(1))
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
    before = await redis.zrange(CANDLES, 0, -1)
    done = await audit(candles, doubt(4, candle(4, 1.0), yields=yields), doubt(5, candle(5, 1.0)))
    assert done.doubted == 1
    assert states(await known(store)) == ".....s...."
    assert await redis.zrange(CANDLES, 0, -1) == before


async def repair(redis, candles: CandleStore, slot: int, volume: float, when: int):
    """Write another candle as a feeder does; have an answer repair it."""
    held = Candle(at(slot), 88_000.0, 88_000.0, 88_000.0, 88_000.0, volume)
    await redis.zremrangebyscore(CANDLES, at(slot), at(slot))
    await put(redis, held)
    doubts = [doubt(slot, held, yields=True)]
    return await candles.merge_answer(BTC, [], UNLIMITED, answer(*range(10), when=when), NOTHING, doubts=doubts)


async def test_a_slot_repaired_three_times_is_contested_and_left_alone(redis, store, candles):
    done = [await repair(redis, candles, 4, (time + 1) / 4, LATER + time) for time in range(4)]
    assert [one.outcome.changed for one in done] == [(at(4),)] * 3 + [()]
    finding = (await known(store)).at(at(4))
    assert finding == Finding(State.SUSPECT, Reason.CONTESTED, LATER + 2, LATER + 3, 2, LATER + 2 + DAY_MS)
    assert await redis.zrange(CANDLES, 0, -1) == [member_of(BTC, candle(4)).replace("1.5", "1").encode()]
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
    await redis.delete(CANDLES)
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
    assert await redis.exists(KEY) == 0


async def test_a_repair_whose_evidence_keeps_changing_is_not_made(redis, candles, monkeypatch):
    real = SeriesWrite.run

    async def beaten(self, client, scope):
        if self.known.ledger.findings:
            await redis.hset(KEY, str(T0 // DAY_MS), next(bodies))
        return await real(self, client, scope)

    bodies = (b"\x09" * number for number in range(1, 99))
    monkeypatch.setattr(SeriesWrite, "run", beaten)
    await put(redis, candle(0, 1.0), candle(1, 1.0))
    done = await audit(candles, doubt(0, candle(0, 1.0), yields=True), doubt(1, candle(1, 1.0)))
    assert (done.outcome.changed, done.doubted) == ((), 0)
    assert await redis.zrange(CANDLES, 0, 0) == [member_of(BTC, candle(0, 1.0)).encode()]


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
    # what somebody else wrote since is judged anew
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

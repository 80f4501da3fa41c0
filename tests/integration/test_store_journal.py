"""The journal on a real server: no change of what was there without an entry, and no entry without the change."""

from __future__ import annotations

import json

import pytest
from redis.crc import key_slot

from reconciler_engine.errors import StoreError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.hand_marks import mark
from reconciler_engine.planning.ledger import State
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.journal import ENTRIES_KEPT, LIFE_MS, Journal, Why
from reconciler_engine.store.members import member_of
from reconciler_engine.store.merge_script import SeriesWrite
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Layout, Scope

pytestmark = pytest.mark.contract

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC = Series("BTC-USD", Timeframe.M1)
ETH = Series("ETH-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
CANDLES = SCOPE.candle_key(BTC)
KEY = SCOPE.journal_key(BTC)
UNLIMITED = Retention(0, 0)


def at(slot: int) -> int:
    return T0 + slot * MINUTE


def candle(slot: int, price: float = 88_000.0, volume: float = 1.5, sequence: int | None = None) -> Candle:
    return Candle(at(slot), price, price, price, price, volume, sequence)


async def put(redis, *candles: Candle, series: Series = BTC) -> None:
    if candles:
        await redis.zadd(SCOPE.candle_key(series), {member_of(series, one): one.timestamp for one in candles})


@pytest.fixture(params=Layout, autouse=True)
def layout(request, monkeypatch):
    """Give all names of this file the forms of each layout."""
    scope = Scope(1, 1, "test", request.param)
    names = {"SCOPE": scope, "CANDLES": scope.candle_key(BTC), "KEY": scope.journal_key(BTC)}
    for name, value in names.items():
        monkeypatch.setitem(globals(), name, value)
    return request.param


@pytest.fixture
def store(redis):
    return CandleStore(redis, SCOPE)


@pytest.fixture
def journal(redis):
    return Journal(redis, SCOPE)


async def entries(journal: Journal, *series: Series, since: int = 0, limit: int = 100):
    return await journal.read(series or [BTC], since=since, limit=limit)


async def replace(redis, offered: Candle, old: str):
    """Merge a candle for which a member is to give way."""
    yielding = {offered.timestamp: old.encode()}
    return await SeriesWrite(BTC, UNLIMITED, [offered], yielding=yielding, by="run").run(redis, SCOPE)


def test_a_journal_lives_in_its_candles_cluster_slot():
    assert key_slot(KEY.encode()) == key_slot(CANDLES.encode())


async def test_what_is_only_added_is_not_journalled(redis, store, journal):
    await put(redis, candle(1, 90_000.5), candle(2))
    await store.merge(BTC, [candle(slot) for slot in range(4)], UNLIMITED, by="run")
    assert await redis.exists(KEY) == 0
    assert await entries(journal) == []


async def test_a_removed_duplicate_is_journalled_with_the_candle_that_stayed(redis, store, journal):
    poor, rich = candle(0, 1.0, volume=1.0), candle(0, 2.0, volume=3.0, sequence=7)
    await put(redis, poor, rich)
    before = await redis.time()
    await store.merge(BTC, [], UNLIMITED, duplicated=[at(0)], by="gap_scan-1-ab")
    (change,) = await entries(journal)
    assert (change.old, change.new) == (member_of(BTC, poor), member_of(BTC, rich))
    assert (change.series, change.start, change.stop) == (BTC, at(0), at(1))
    assert (change.why, change.by) == (Why.DUPLICATE, "gap_scan-1-ab")
    assert 0 <= change.at - (before[0] * 1_000 + before[1] // 1_000) < 60_000


async def test_what_was_no_candle_is_journalled_with_what_took_its_place(redis, store, journal):
    await redis.zadd(CANDLES, {"{broken": at(0), b"\xff\xfe": at(1), "x" * 70_000: at(2), "left alone": at(3)})
    await put(redis, candle(1))
    await store.merge(BTC, [candle(0), candle(2)], UNLIMITED, duplicated=[at(1)])
    found = {change.start: change for change in await entries(journal)}
    assert {change.why for change in found.values()} == {Why.FOREIGN}
    assert [found[at(slot)].new for slot in range(3)] == [member_of(BTC, candle(slot)) for slot in range(3)]
    assert (found[at(0)].old, found[at(1)].old) == ("{broken", "\ufffd\ufffd")
    assert found[at(2)].old == "x" * 500 + "... (70000 bytes)"
    assert len(found) == 3


async def test_a_candle_named_to_give_way_gives_way(redis, journal):
    cut = member_of(BTC, candle(0, volume=0.5, sequence=7))
    await redis.zadd(CANDLES, {cut: at(0)})
    outcome = await replace(redis, candle(0), cut)
    assert outcome.changed == (at(0),)
    assert await redis.zrange(CANDLES, 0, -1) == [member_of(BTC, candle(0)).encode()]
    (change,) = await entries(journal)
    assert (change.old, change.new, change.why) == (cut, member_of(BTC, candle(0)), Why.REPAIRED)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ([candle(0, volume=9.0, sequence=8)], "differing"),  # written since it was read
        ([candle(0, volume=0.5), candle(0, volume=0.1, sequence=8)], "differing"),  # it is not alone any more
        ([candle(0)], "present"),  # somebody else repaired it
        ([], "inserted"),  # it is gone, and the slot is a gap as any other
    ],
)
async def test_what_was_written_since_wins_over_a_replacement(redis, journal, there, said):
    cut = candle(0, volume=0.5)
    await put(redis, *there)
    outcome = await replace(redis, candle(0), member_of(BTC, cut))
    assert getattr(outcome, said) == (at(0),)
    assert outcome.changed == ()
    kept = max(there or [candle(0)], key=lambda one: one.volume)
    assert await redis.zrange(CANDLES, 0, -1) == [member_of(BTC, kept).encode()]
    assert Why.REPAIRED not in [change.why for change in await entries(journal)]


async def test_a_full_journal_drops_its_oldest_and_has_a_life(redis, store, journal):
    slots = range(ENTRIES_KEPT + 7)
    await put(redis, *(candle(slot, volume=volume) for slot in slots for volume in (1.0, 2.0)))
    await store.merge(BTC, [], UNLIMITED, duplicated=[at(slot) for slot in slots])
    found = await entries(journal, limit=10_000)
    assert [change.start for change in found] == [at(slot) for slot in slots[7:]]
    assert LIFE_MS - 60_000 < await redis.pttl(KEY) <= LIFE_MS


async def test_nothing_is_changed_that_cannot_be_journalled(redis, store):
    await redis.set(KEY, "no stream")
    await put(redis, candle(0, volume=1.0), candle(0, volume=2.0))
    before = await redis.zrange(CANDLES, 0, -1)
    with pytest.raises(StoreError):
        await store.merge(BTC, [candle(1)], UNLIMITED, duplicated=[at(0)])
    assert await redis.zrange(CANDLES, 0, -1) == before
    # a merge that only adds needs no journal
    await store.merge(BTC, [candle(1)], UNLIMITED)
    assert await redis.zcard(CANDLES) == 3


async def test_a_change_of_the_ledger_by_hand_is_journalled(redis, journal):
    evidence = EvidenceStore(redis, SCOPE)
    spans = Intervals([Interval(at(2), at(5))])
    whole = Interval(at(0), at(10))

    async def change(state: State, why: Why | None) -> None:
        await evidence.change(BTC, whole, UNLIMITED, lambda known: mark(known, spans, state, T0), why=why, by="me")

    await change(State.HALTED, Why.MARKED)
    await change(State.EMPTY, None)  # a rule's own work
    await change(State.UNKNOWN, Why.FORGOTTEN)
    await change(State.UNKNOWN, Why.FORGOTTEN)  # nothing to forget
    found = await entries(journal)
    assert [(each.why, json.loads(each.old), json.loads(each.new), each.by) for each in found] == [
        (Why.MARKED, {}, {"halted": 3}, "me"),
        (Why.FORGOTTEN, {"empty": 3}, {}, "me"),
    ]
    assert (found[0].start, found[0].stop) == (whole.start, whole.stop)
    await redis.set(KEY, "no stream")
    with pytest.raises(StoreError):
        await change(State.HALTED, Why.MARKED)
    assert await redis.exists(SCOPE.evidence_key(BTC)) == 0


async def test_journals_of_many_series_are_read_as_one_newest_last(redis, store, journal):
    for slot in range(3):
        for series in (BTC, ETH):
            await put(redis, candle(slot, volume=1.0), candle(slot, volume=2.0), series=series)
            await store.merge(series, [], UNLIMITED, duplicated=[at(slot)])
    everything = await entries(journal, BTC, ETH)
    assert [change.at for change in everything] == sorted(change.at for change in everything)
    assert {(change.series, change.start) for change in everything} == {
        (series, at(slot)) for slot in range(3) for series in (BTC, ETH)
    }
    last = everything[-1].at
    assert await entries(journal, BTC, ETH, since=last) == [one for one in everything if one.at >= last]
    assert await entries(journal, BTC, ETH, since=last + 1) == []
    assert await entries(journal, BTC, ETH, limit=2) == everything[-2:]
    # series without a journal cost nothing but their name
    others = [Series(f"P{number}-USD", Timeframe.M5) for number in range(700)]
    assert await entries(journal, *others, BTC, limit=1) == [one for one in everything if one.series == BTC][-1:]


async def test_what_is_no_entry_is_left_out_and_told(redis, store, journal, caplog):
    await put(redis, candle(0, volume=1.0), candle(0, volume=2.0))
    await store.merge(BTC, [], UNLIMITED, duplicated=[at(0)])
    await redis.xadd(KEY, {"why": "no reason of ours"})
    await redis.xadd(KEY, {"start": "1", "stop": "2", "old": "", "new": "", "why": "because", "by": ""})
    assert len(await entries(journal)) == 1
    assert caplog.text.count("no entry of a journal") == 2

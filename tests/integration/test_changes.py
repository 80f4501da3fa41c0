"""The feed of changes: each write of an engine once or more, in order, and told where some fell out."""

from __future__ import annotations

import functools

import pytest
from tests.conftest import plain_client
from tests.every_client import KINDS, have

from reconciler_engine import changes
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Finding, FindingInterval, Knowledge, Ledger, Reason, State
from reconciler_engine.store.change_feed import ENTRIES_KEPT, Kind
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.feed_steps import Cursor
from reconciler_engine.store.journal import Journal
from reconciler_engine.store.merge_script import SeriesWrite
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC, ETH = Series("BTC-USD", Timeframe.M1), Series("ETH-USD", Timeframe.M5)
SCOPE = Scope.of(1, 1, "https://api.coinbase.com")
KEPT = Retention(0, 0)
every_client = pytest.mark.parametrize("kind", KINDS)


def candle(slot, *, step=MINUTE, volume=1.0):
    return Candle(T0 + slot * step, 1.0, 2.0, 0.5, 1.5, volume)


async def add(client, series, *slots, scope=SCOPE, **options):
    """Merge candles of these slots."""
    step = series.timeframe.step_ms
    offered = [candle(slot, step=step) for slot in slots]
    return await SeriesWrite(series, KEPT, offered, **options).run(client, scope)


def written(redis_url, *writes):
    async def run(client):
        for write in writes:
            await write(client)

    have("trio", redis_url, run)


def told(batch, series=BTC):
    """Kinds with their slots, of one series."""
    step = series.timeframe.step_ms
    return [
        (one.kind.value, (one.start - T0) // step, (one.stop - T0) // step)
        for one in batch.changes
        if one.symbol == series.symbol
    ]


@pytest.mark.contract
@every_client
def test_a_reader_gets_what_changed_since_its_cursor(redis_url, kind):
    written(redis_url, lambda c: add(c, BTC, 0, 1, 2, 5), lambda c: add(c, ETH, 0))
    first = have(kind, redis_url, changes)
    assert told(first) == [("added", 0, 3), ("added", 5, 6)]
    assert told(first, ETH) == [("added", 0, 1)]
    assert have(kind, redis_url, lambda c: changes(c, first.cursor)).changes == ()
    written(redis_url, lambda c: add(c, BTC, 3))
    second = have(kind, redis_url, lambda c: changes(c, first.cursor))
    assert (told(second), second.is_all) == ([("added", 3, 4)], True)
    again = have(kind, redis_url, lambda c: changes(c, first.cursor))
    assert again.changes == second.changes


def test_each_kind_of_change_is_told(redis_url):
    slots = {slot: T0 + slot * MINUTE for slot in range(10)}
    finding = Finding(State.EMPTY, Reason.BY_HAND, 0, 0, 1, None)
    proof = Ledger([FindingInterval(slots[7], slots[9], finding)])
    day = str(T0 // 86_400_000)

    async def write(client):
        await add(client, BTC, 0, 1, 2, 3)
        held = {slots[slot]: (await client.zrange(SCOPE.candle_key(BTC), slot, slot))[0] for slot in range(4)}
        await SeriesWrite(BTC, KEPT, equal={slots[1]: held[slots[1]]}, asked_at=T0).run(client, SCOPE)
        better = candle(2, volume=9.0)
        await SeriesWrite(BTC, KEPT, [better], yielding={slots[2]: held[slots[2]]}).run(client, SCOPE)
        await SeriesWrite(BTC, KEPT, ghosts={slots[3]: held[slots[3]]}).run(client, SCOPE)
        await SeriesWrite(BTC, KEPT, read={day: b""}, known=Knowledge(proof)).run(client, SCOPE)
        body = await client.hget(SCOPE.evidence_key(BTC), day)
        await SeriesWrite(BTC, KEPT, read={day: body}, known=Knowledge()).run(client, SCOPE)

    written(redis_url, write)
    assert told(have("sync", redis_url, changes)) == [
        ("added", 0, 4),
        ("verified", 1, 2),
        ("changed", 2, 3),
        ("removed", 3, 4),
        ("proved", 7, 9),
        ("retracted", 7, 9),
    ]


def test_a_write_that_changes_nothing_tells_nothing(redis_url):
    async def verify(client):
        (member,) = await client.zrange(SCOPE.candle_key(BTC), 0, 0)
        await SeriesWrite(BTC, KEPT, equal={T0: member}, asked_at=T0).run(client, SCOPE)

    written(redis_url, lambda c: add(c, BTC, 0), lambda c: add(c, BTC, 0), verify, verify)
    assert told(have("sync", redis_url, changes)) == [("added", 0, 1), ("verified", 0, 1)]


@pytest.mark.parametrize("kind", ["sync", "asyncio", "trio"])
def test_a_sleeper_is_told_where_entries_fell_out(redis_url, kind):
    written(redis_url, lambda c: add(c, BTC, 0))
    cursor = have(kind, redis_url, changes).cursor

    async def many(client):
        for slot in range(1, ENTRIES_KEPT + 300):
            await add(client, BTC, slot)
        await add(client, ETH, 0)

    written(redis_url, many)
    kinds, batches = [], 0
    while True:
        batch = have(kind, redis_url, functools.partial(changes, cursor=cursor, limit=400))
        kinds += told(batch)
        batches += 1
        cursor = batch.cursor
        if batch.is_all:
            break
    assert kinds[0][0] == "lost"
    assert [one[0] for one in kinds[1:]] == ["added"] * (len(kinds) - 1)
    first = kinds[1][1]
    assert [one[1] for one in kinds[1:]] == [*range(first, ENTRIES_KEPT + 300)]
    assert ENTRIES_KEPT <= len(kinds) - 1 < ENTRIES_KEPT + 200
    assert batches > 2


def test_a_feed_that_was_lost_is_told_as_lost(redis_url):
    written(redis_url, lambda c: add(c, BTC, 0), lambda c: add(c, BTC, 1))
    cursor = have("sync", redis_url, changes).cursor
    with plain_client(redis_url) as client:
        client.flushall()
    written(redis_url, lambda c: add(c, BTC, 2))
    batch = have("sync", redis_url, lambda c: changes(c, cursor))
    assert [one[0] for one in told(batch)] == ["lost", "added"]


@pytest.mark.parametrize("by", ["read", "write"])
def test_proofs_that_a_failover_puts_in_doubt_are_told_as_retracted(redis_url, by):
    finding = Finding(State.EMPTY, Reason.AMONG_WITNESSES, 0, 0, 1, None)
    proof = Ledger([FindingInterval(T0 + 7 * MINUTE, T0 + 9 * MINUTE, finding)])
    day = str(T0 // 86_400_000)

    async def fail_over(client):
        await SeriesWrite(BTC, KEPT, read={day: b""}, known=Knowledge(proof)).run(client, SCOPE)
        await client.hset(SCOPE.evidence_key(BTC), "origin", "f" * 40)
        if by == "read":
            await EvidenceStore(client, SCOPE).read([(BTC, Interval(T0, T0 + 10 * MINUTE))])
        else:
            await add(client, BTC, 0, late=1)

    written(redis_url, fail_over)
    batch = have("sync", redis_url, changes)
    proved, retracted, *more = batch.changes
    assert (proved.kind, retracted.kind, retracted.start) == (Kind.PROVED, Kind.RETRACTED, 0)
    assert retracted.stop > T0 + 10 * MINUTE
    assert [one.kind for one in more] == ([] if by == "read" else [Kind.ADDED])


def test_a_writer_that_died_before_its_word_is_found_by_the_sweep(redis_url, monkeypatch):
    written(redis_url, lambda c: add(c, BTC, 0))
    cursor = have("sync", redis_url, changes).cursor
    with plain_client(redis_url) as client:
        index = client.zrange(SCOPE.index_key(), 0, -1, withscores=True)
        written(redis_url, lambda c: add(c, BTC, 1))
        client.delete(SCOPE.index_key())
        client.zadd(SCOPE.index_key(), dict(index))
    assert have("sync", redis_url, lambda c: changes(c, cursor)).changes == ()
    monkeypatch.setattr("reconciler_engine.store.feed_steps.SWEEP_S", 0)
    assert told(have("sync", redis_url, lambda c: changes(c, cursor))) == [("added", 1, 2)]


@every_client
def test_a_reader_waits_for_the_first_change(redis_url, kind):
    assert have(kind, redis_url, lambda c: changes(c, wait_s=0.05)).changes == ()
    written(redis_url, lambda c: add(c, BTC, 0))
    assert told(have(kind, redis_url, lambda c: changes(c, wait_s=30))) == [("added", 0, 1)]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("x",), {}, "cursor 'x' is not one that changes"),
        ((str(Cursor("other")),), {}, "cursor is one for other; allowed: one for recon:"),
        ((), {"limit": 0}, "limit 0 is not allowed"),
        ((), {"wait_s": -1}, "wait_s -1 is not allowed"),
        ((), {"layout": "none"}, "layout 'none' is not allowed; allowed: user"),
    ],
)
def test_bad_arguments_are_refused(redis_url, arguments, options, message):
    with plain_client(redis_url) as client, pytest.raises(ValueError, match=message):
        changes(client, *arguments, **options)


def test_every_entry_of_the_journal_has_its_change(redis_url):
    async def write(client):
        await add(client, BTC, *range(20))
        for slot in range(20):
            (member,) = await client.zrange(SCOPE.candle_key(BTC), slot, slot)
            better = [candle(slot, volume=5.0)]
            await SeriesWrite(BTC, KEPT, better, yielding={T0 + slot * MINUTE: member}).run(client, SCOPE)
        journal = await Journal(client, SCOPE).read([BTC], since=0, limit=1_000)
        batch = await changes(client)
        seen = {(one.start, one.stop) for one in batch.changes if one.kind is Kind.CHANGED}
        assert {(one.start, one.stop) for one in journal} == seen

    written(redis_url, write)


def test_a_cursor_reads_back_as_it_was():
    cursor = Cursor("o", 5, 6, 7)
    assert Cursor.read(str(cursor), "o") == cursor

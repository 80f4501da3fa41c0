"""A server that goes on with another history of writes, as after a failover: its proofs and permits."""

from __future__ import annotations

import time

import pytest
import redis as redis_py
from tests.conftest import CLIENTS, plain_client
from tests.integration.conftest import settled_grace_ms
from tests.integration.proved_slots import (
    BTC,
    LATER,
    MINUTE,
    T0,
    UNLIMITED,
    known,
    names,
    prove,
    span,
    states,
)

from reconciler_engine import examine
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.permit_steps import Reply
from reconciler_engine.market.interval import Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.hand_marks import mark
from reconciler_engine.planning.ledger import Finding, FindingInterval, Reason, State
from reconciler_engine.store.bucket_script import bucket_script
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.findings import DAY_MS, encode_day

GRACE_MS = settled_grace_ms(DAY_MS)
DAILY = "candles:1:1:BTC-USD:1d"
BUDGET = Budget(burst=5, period_ms=100)
LIMITS = [number for limit in BUDGET.limits for number in (limit.interval_us, limit.tolerance_us)]


@pytest.fixture
def store(redis):
    return EvidenceStore(redis, names.scope)


@pytest.fixture
def candles(redis):
    return CandleStore(redis, names.scope)


def as_plain(redis_url):
    return redis_url.replace("unix://", "unix://plain:pw@")


@pytest.fixture
def plain(redis_url, request):
    """A client of a user who may do everything but ask for the history."""
    with redis_py.Redis.from_url(redis_url) as server:
        server.execute_command("ACL", "SETUSER", "plain", "on", ">pw", "~*", "&*", "+@all", "-info")
        client = TrioRedis.from_url(as_plain(redis_url))
        request.node.stash.setdefault(CLIENTS, []).append(client)
        yield client
        server.execute_command("ACL", "DELUSER", "plain")


def promote(redis_url) -> None:
    """Have the server go on with another history of writes, as a replica does that is promoted."""
    with redis_py.Redis.from_url(redis_url) as server:
        server.execute_command("REPLICAOF", "127.0.0.1", "1")
        server.execute_command("REPLICAOF", "NO", "ONE")


def replication_id(redis_url):
    with redis_py.Redis.from_url(redis_url) as server:
        return server.info("replication")["master_replid"].encode()


async def test_proofs_from_before_are_looked_at_once_more(redis, redis_url, store, candles):
    await prove(candles, 0, 9)
    promote(redis_url)
    after = await known(store)
    assert after.confirmed(span(0, 10)) == Intervals(())
    assert after.resting(span(1, 9), LATER) == Intervals(())
    assert {finding.reason for _, _, finding in after.findings} == {Reason.BEFORE_FAILOVER}
    assert await redis.hget(names.key, "origin") == replication_id(redis_url)
    await prove(candles, 0, 9, when=LATER + MINUTE)
    assert states(await known(store)) == ".eeeeeeee."


async def test_a_write_says_nothing_for_proofs_beside_it(store, candles, redis_url):
    await prove(candles, 0, 9)
    (before,) = await store.read([(BTC, span(0, 10))])
    promote(redis_url)
    await prove(candles, 20, 29, slots=span(20, 30), asked=span(20, 30))
    assert (await known(store)).confirmed(span(0, 10)) == Intervals(())
    assert (await known(store, span(20, 30))).confirmed(span(20, 30)) == Intervals([span(21, 29)])
    # Knowledge read before the failover must not lead to a write.
    assert before.known.ledger.confirmed(span(0, 10)) == Intervals([span(1, 9)])


async def test_marks_by_hand_stay(store, redis_url):
    slots = Intervals([span(2, 4)])
    await store.change(BTC, span(0, 10), UNLIMITED, lambda one: mark(one, slots, State.HALTED, LATER))
    promote(redis_url)
    assert (await known(store)).confirmed(span(0, 10)) == slots


async def test_an_engine_that_may_not_ask_leaves_no_word_of_a_history(redis, redis_url, plain, candles, store):
    await prove(candles, 0, 9)
    await prove(CandleStore(plain, names.scope), 20, 29, slots=span(20, 30), asked=span(20, 30))
    assert await redis.hget(names.key, "origin") is None
    promote(redis_url)
    assert (await known(store, span(0, 30))).confirmed(span(0, 30)) == Intervals([span(1, 9), span(21, 29)])


async def test_the_last_note_taken_away_takes_the_history_along(redis, store, candles):
    await prove(candles)
    unknown = Intervals([span(0, 10)])
    await store.change(BTC, span(0, 10), UNLIMITED, lambda one: mark(one, unknown, State.UNKNOWN, T0))
    assert await redis.exists(names.key) == 0


def note_empty(client, reason: Reason, origin: bytes) -> None:
    """Write that the newest closed day has no candle, under a history."""
    day = (time.time_ns() // 1_000_000 - GRACE_MS) // DAY_MS - 1
    stretch = FindingInterval(day * DAY_MS, (day + 1) * DAY_MS, Finding(State.EMPTY, reason, 0, 0, 1, None))
    fields = {str(day): encode_day([stretch], day, DAY_MS), "origin": origin}
    client.hset(names.scope.evidence_key(Series("BTC-USD", Timeframe.D1)), mapping=fields)


def ask(client):
    return examine(client, "BTC-USD", "1d", 1, grace_ms=GRACE_MS)


def test_the_gate_takes_a_proof_of_another_history_as_none(redis_url):
    with plain_client(redis_url) as client:
        note_empty(client, Reason.WITH_REFERENCE, replication_id(redis_url))
        assert ask(client).is_ready
        promote(redis_url)
        told = ask(client)
        assert (told.is_ready, told.missing.slots, told.reason) == (False, 1, "not asked for")
        note_empty(client, Reason.BY_HAND, b"of another")
        assert ask(client).is_ready


@pytest.mark.usefixtures("plain")
def test_a_gate_that_may_not_ask_takes_a_proof_as_none(redis_url):
    with plain_client(redis_url) as client, plain_client(as_plain(redis_url)) as reader:
        note_empty(client, Reason.WITH_REFERENCE, replication_id(redis_url))
        assert not ask(reader).is_ready
        client.hdel(names.scope.evidence_key(Series("BTC-USD", Timeframe.D1)), "origin")
        # Engines that may not ask either leave nothing to compare.
        assert ask(reader).is_ready


async def test_permits_from_before_are_void_and_the_bucket_starts_empty(redis, redis_url):
    keys = ("bucket", "bucket:breaker")
    run = bucket_script(redis)
    await run(keys=keys, args=["reserve", 10_000_000, *LIMITS])
    taken, wait_us, slot, born, turn = await run(keys=keys, args=["reserve", 10_000_000, *LIMITS])
    assert (taken, wait_us > 0) == (Reply.GRANTED, True)
    # The copy is as young as its birth.
    await redis.hset("bucket", "seen", str(born))
    promote(redis_url)
    lateness = 60_000_000
    assert await run(keys=keys, args=["confirm", slot, born, turn, lateness]) == [Reply.REFUSED]
    _, wait_us, _, second, _ = await run(keys=keys, args=["reserve", 10_000_000, *LIMITS])
    assert wait_us >= BUDGET.limits[0].interval_us
    assert second > born
    assert await run(keys=keys, args=["confirm", slot, born, turn, lateness]) == [Reply.REFUSED]


async def test_a_pause_outlives_a_failover(redis, redis_url):
    keys, run = ("bucket", "bucket:breaker"), bucket_script(redis)
    await run(keys=keys, args=["push", 20_000_000, *LIMITS])
    promote(redis_url)
    assert (await run(keys=keys, args=["reserve", 10_000_000, *LIMITS]))[0] == Reply.REFUSED


def commands_in(log: bytes) -> list[list[bytes]]:
    """The commands of a stream of writes, as replicas get them."""
    lines = iter(log.split(b"\r\n"))
    return [[[next(lines), next(lines)][1] for _ in range(int(line[1:]))] for line in lines if line.startswith(b"*")]


async def test_candles_evidence_and_digests_reach_a_replica_together_or_not_at_all(own_server):
    async with TrioRedis.from_url(own_server.url) as client:
        store = CandleStore(client, names.scope)
        await prove(store, 0, 9)
        await prove(store, 0, 5, 9, when=LATER + MINUTE)
    (log,) = own_server.plan.data_directory.glob("appendonlydir/*.incr.aof")
    keys, parts, is_inside = (names.scope.candle_key(BTC).encode(), names.key.encode()), list[set[bytes]](), False
    for command in commands_in(log.read_bytes()):
        match command[0]:
            case b"MULTI":
                parts.append(set())
                is_inside = True
            case b"EXEC":
                is_inside = False
            case _ if len(command) > 1 and command[1] in keys:
                assert is_inside
                fields = [b"digests" if name.startswith(b"v") else b"findings" for name in command[2:3]]
                parts[-1].add(b"candles" if command[1] == keys[0] else fields[0])
    # Each merge wrote all three, and nothing was written beside them.
    assert [part for part in parts if part] == [{b"candles", b"findings", b"digests"}] * 2

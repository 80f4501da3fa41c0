"""The ready gate asked by every kind of client: one round trip a node, waits, and cancels that leave nothing."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager

import pytest
import redis as redis_py
import redis.asyncio
import trio
from tests.conftest import plain_client, server_urls
from tests.every_client import KINDS, asyncio_client, cancelled_at, have
from tests.integration.conftest import settled_grace_ms, wait_until
from tests.integration.verified_bars import block_fields_of

from reconciler_engine import TrioRedis, are_ready, examine, is_ready, wait_ready, why_not_ready
from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.drivers import asyncio_driver
from reconciler_engine.store.scope import Scope

DAY = 86_400_000
GRACE_MS = settled_grace_ms(DAY)
SCOPE = Scope(1, 1, "")
# Their keys lie at all three nodes of the cluster.
SYMBOLS = ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD", "LTC-USD"]
CHANNEL = SCOPE.repaired_channel(Series("BTC-USD", Timeframe.D1))
every_client = pytest.mark.parametrize("kind", KINDS)
each_way = pytest.mark.parametrize("kind", ["sync", "asyncio", "trio"])
on_a_cluster_too = pytest.mark.contract(cluster_by_mark=True)


def newest_closed() -> int:
    return (time.time_ns() // 1_000_000 - GRACE_MS) // DAY * DAY - DAY


def fill(redis_url, symbol, days, newest=None):
    """Write the candles of the newest days and note them as verified."""
    newest, series = newest or newest_closed(), Series(symbol, Timeframe.D1)
    values = {"open": 1, "high": 2, "low": 0.5, "close": 1.5, "volume": 3, "symbol": symbol, "timeframe": "1d"}
    opens = [newest - age * DAY for age in range(days)]
    members = {at: json.dumps({"timestamp": at, **values}).encode() for at in opens}
    with plain_client(redis_url) as client:
        client.zadd(SCOPE.candle_key(series), {text: at for at, text in members.items()})
        client.hset(SCOPE.evidence_key(series), mapping=block_fields_of(members, DAY))


def wait(client, timeout, symbol="BTC-USD"):
    return wait_ready(client, symbol, "1d", 3, timeout, grace_ms=GRACE_MS)


def series_of(*bars):
    return [(symbol, "1d", count) for symbol, count in zip(SYMBOLS, bars, strict=False)]


def listeners(redis_url):
    """The number of connections that listen to repairs, at all nodes."""
    counts = []
    for url in server_urls(redis_url):
        with redis_py.Redis.from_url(url) as client:
            counts.append(client.pubsub_numsub(CHANNEL)[0][1])
    return sum(counts)


@on_a_cluster_too
@every_client
def test_each_client_asks_and_is_told_why_not(redis_url, kind):
    fill(redis_url, "BTC-USD", 3)
    assert have(kind, redis_url, lambda c: is_ready(c, "BTC-USD", "1d", 3, grace_ms=GRACE_MS)) is True
    assert have(kind, redis_url, lambda c: is_ready(c, "BTC-USD", "1d", 4, grace_ms=GRACE_MS)) is False
    told = have(kind, redis_url, lambda c: examine(c, "BTC-USD", "1d", 4, grace_ms=GRACE_MS))
    assert (told.reason, told.missing) == ("not asked for", (1, newest_closed() - 3 * DAY))
    assert 0 <= time.time_ns() // 1_000_000 - told.at < 60_000


@pytest.mark.contract
@every_client
def test_many_series_are_answered_in_the_order_asked(redis_url, kind):
    for age, symbol in enumerate(SYMBOLS):
        fill(redis_url, symbol, age + 1)
    told = have(kind, redis_url, lambda c: are_ready(c, series_of(1, 3, 3, 5, 5, 6), grace_ms=GRACE_MS))
    assert [*told] == [True, False, True, False, True, True]
    assert bool(told) is False
    assert bool(have(kind, redis_url, lambda c: are_ready(c, series_of(1, 2, 3), grace_ms=GRACE_MS))) is True
    unready = have(kind, redis_url, lambda c: why_not_ready(c, SYMBOLS, ["1d"], 3, grace_ms=GRACE_MS))
    assert {(one.symbol, one.slots["missing"]) for one in unready} == {("BTC-USD", 2), ("ETH-USD", 1)}


@pytest.mark.contract
@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_many_series_cost_each_node_one_write(redis_url, kind, monkeypatch):
    sends: list[list[bytes]] = []
    for connection in (redis_py.connection.AbstractConnection, redis.asyncio.connection.AbstractConnection):
        monkeypatch.setattr(connection, "send_packed_command", noting(connection.send_packed_command, sends))

    def ask(client):
        return are_ready(client, series_of(1, 1, 1, 1, 1, 1))

    # The first call teaches the script, and finds the nodes.
    have(kind, redis_url, ask)
    sends.clear()
    if kind == "sync":
        with plain_client(redis_url) as client:
            ask(client)
            sends.clear()
            ask(client)
    else:
        asyncio.run(ask_twice(redis_url, ask, sends))
    assert len(sends) == len(server_urls(redis_url))
    assert all(b"EVALSHA" in b"".join(sent) for sent in sends)


async def ask_twice(redis_url, ask, sends):
    async with aclosing(asyncio_client(redis_url)) as client:
        await ask(client)
        sends.clear()
        await ask(client)


def noting(send, sends):
    """Note what a connection sends."""

    def send_noted(self, command, *args, **kwargs):
        sends.append([command] if isinstance(command, bytes) else [*command])
        return send(self, command, *args, **kwargs)

    return send_noted


@each_way
def test_an_empty_list_is_refused_and_an_error_is_no_answer(redis_url, kind):
    with pytest.raises(ValueError, match="series is empty"):
        have(kind, redis_url, lambda c: are_ready(c, []))
    with plain_client(redis_url) as client:
        client.set(SCOPE.candle_key(Series("BTC-USD", Timeframe.D1)), "x")
    with pytest.raises((StoreError, redis_py.ResponseError), match="WRONGTYPE"):
        have(kind, redis_url, lambda c: are_ready(c, series_of(1, 1)))


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_a_wait_without_an_end_is_refused(redis_url, timeout):
    with plain_client(redis_url) as client, pytest.raises(ValueError, match=r"timeout .* finite number of seconds"):
        wait(client, timeout)


@pytest.mark.parametrize(("function", "more"), [(is_ready, ()), (examine, ()), (wait_ready, (1,))])
def test_an_answer_that_is_not_awaited_is_no_yes(redis_url, function, more):
    with pytest.raises(TypeError, match=f"await {function.__name__}"):
        bool(function(asyncio_client(redis_url), "BTC-USD", "1d", 1, *more))


@each_way
def test_a_wait_without_time_asks_once(redis_url, kind):
    assert have(kind, redis_url, lambda c: wait(c, 0)) is False
    fill(redis_url, "BTC-USD", 3)
    assert have(kind, redis_url, lambda c: wait(c, 0)) is True


@on_a_cluster_too
@each_way
def test_word_of_a_repair_ends_a_wait(redis_url, kind):
    def repair():
        wait_until(lambda: listeners(redis_url) == 1)
        fill(redis_url, "BTC-USD", 3)
        with plain_client(redis_url) as client:
            client.publish(CHANNEL, "{}")

    with in_background(repair):
        began = time.monotonic()
        assert have(kind, redis_url, lambda c: wait(c, 60)) is True
        # Without the word it would have been asked after 15 s.
        assert time.monotonic() - began < 14
    wait_until(lambda: listeners(redis_url) == 0)


@each_way
def test_a_subscription_that_is_cut_is_made_again_and_asks(redis_url, kind):
    def cut():
        wait_until(lambda: listeners(redis_url) == 1)
        # Messages published in between are lost.
        fill(redis_url, "BTC-USD", 3)
        with plain_client(redis_url) as client:
            client.client_kill_filter(_type="pubsub")

    with in_background(cut):
        began = time.monotonic()
        assert have(kind, redis_url, lambda c: wait(c, 60)) is True
        assert time.monotonic() - began < 14


@each_way
def test_the_next_close_ends_a_wait(redis_url, kind):
    now = time.time_ns() // 1_000_000
    # Yesterday's bar is there and closes in two seconds; the one before is missing.
    fill(redis_url, "BTC-USD", 1, newest=now // DAY * DAY - DAY)
    grace_ms = now % DAY + 2_000
    began = time.monotonic()
    assert have(kind, redis_url, lambda c: wait_ready(c, "BTC-USD", "1d", 1, 60, grace_ms=grace_ms)) is True
    assert time.monotonic() - began < 14


@contextmanager
def in_background(work):
    """Run a function in a thread for the length of a block; its error is the block's."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result()


async def cancel_everywhere(client, call):
    """Cancel a call at each of its waits, then make it to its end; return how many waits there were."""
    number = 1
    while await cancelled_at(number, lambda: call(client)):
        # The next question gets its own reply, not a late one.
        assert [*await are_ready(client, series_of(1, 2), grace_ms=GRACE_MS)] == [True, False]
        number += 1
    return number


@on_a_cluster_too
@pytest.mark.parametrize(
    "call", [lambda c: are_ready(c, series_of(1, 1, 1), grace_ms=GRACE_MS), lambda c: wait(c, 0.05)]
)
@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_a_cancel_at_any_await_leaves_nothing_open(redis_url, kind, call):
    fill(redis_url, "BTC-USD", 1)
    fill(redis_url, "ETH-USD", 1)
    assert have(kind, redis_url, lambda c: cancel_everywhere(c, call)) > 1
    wait_until(lambda: listeners(redis_url) == 0)


def test_a_wait_outlives_a_redis_that_is_away(own_server):
    async def run():
        async with TrioRedis.from_url(own_server.url) as client:
            own_server.kill()
            with pytest.raises(StoreError):
                await wait(client, 0.1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(come_back)
                assert await wait(client, 30) is True

    async def come_back():
        await trio.to_thread.run_sync(own_server.start)
        await trio.to_thread.run_sync(lambda: wait_until(lambda: serves(own_server.url)))
        await trio.to_thread.run_sync(fill, own_server.url, "BTC-USD", 3)

    trio.run(run)


def serves(url):
    try:
        with redis_py.Redis.from_url(url) as client:
            return client.ping()
    except redis_py.ConnectionError:
        return False


def test_last_words_are_said_in_spite_of_two_cancels():
    said = []

    async def say():
        await asyncio.sleep(0.05)
        return "all"

    async def last_words():
        said.append(await asyncio_driver._in_spite_of_cancels(say(), 5))
        await asyncio.sleep(60)

    async def run():
        task = asyncio.ensure_future(last_words())
        for _ in range(2):
            await asyncio.sleep(0.01)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert said == ["all"]


def test_last_words_end_with_their_time():
    async def run():
        with pytest.raises(TimeoutError):
            await asyncio_driver._in_spite_of_cancels(asyncio.sleep(60), 0.01)

    asyncio.run(run())

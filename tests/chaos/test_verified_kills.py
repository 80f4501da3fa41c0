"""A server killed while answers are merged: a candle and the note that it is verified are there together, or neither.

Each merge is one call of one script, so nothing can end between its writes and its note.
"""

from __future__ import annotations

from random import Random

import trio
from tests.conftest import OwnServer

from reconciler_engine.errors import StoreError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import block_fields, decode_blocks, digest_of

MINUTE = 60_000
T0 = 1_767_225_600_000
LATER = T0 + 30 * 86_400_000
BTC = Series("BTC-USD", Timeframe.M1)
SCOPE = Scope(1, 1, "test")
PAGE, KILLS = 50, 12


async def merge_until_killed(store: CandleStore, first: int, told: trio.Event, after: int) -> int:
    """Merge a page after the other; `told` is set when so many are merged. Return the pages that were asked for."""
    page = first
    try:
        while True:
            if page - first == after:
                told.set()
            slots = Interval(T0 + page * PAGE * MINUTE, T0 + (page + 1) * PAGE * MINUTE)
            candles = [Candle(at, 100.0, 101.0, 99.0, 100.5, 1.0 + page) for at in slots.grid(MINUTE)]
            page += 1
            answer = Answer(slots, LATER, Intervals([slots]))
            await store.merge_answer(BTC, candles, Retention(0, 0), answer, NOTHING, venue=Venue(newest=LATER))
    except StoreError:
        return page


async def kill(server: OwnServer, told: trio.Event, checkpoints: int) -> None:
    """Kill the server some steps after the word."""
    await told.wait()
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    server.kill()


async def test_a_kill_leaves_no_candle_without_its_note_and_no_note_without_it(own_server):
    random, page = Random(7), 0
    for _ in range(KILLS):
        async with TrioRedis.from_url(own_server.url) as redis:
            store, told = CandleStore(redis, SCOPE), trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kill, own_server, told, random.randrange(6))
                asked = await merge_until_killed(store, page, told, random.randrange(1, 20))
        own_server.start()
        async with TrioRedis.from_url(own_server.url) as redis:
            await wait_serving(redis, 30)
            (found,) = await redis.pipe([("ZRANGE", SCOPE.candle_key(BTC), 0, -1, "WITHSCORES")])
            names = block_fields(Interval(T0, T0 + asked * PAGE * MINUTE), MINUTE)
            bodies = await redis.execute_command("HMGET", SCOPE.evidence_key(BTC), *names)
        noted = decode_blocks({name: body for name, body in zip(names, bodies, strict=True) if body}, MINUTE)
        held = {int(at): digest_of(member) for member, at in zip(found[::2], found[1::2], strict=True)}
        assert held == {at: one.digest for at, one in noted.items()}
        pages, rest = divmod(len(held), PAGE)
        assert rest == 0
        # Pages lost with the server's file are merged again.
        page = pages

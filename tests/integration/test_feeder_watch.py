"""The watch over the feeder on a real server: its candles are told from those that answers brought."""

from __future__ import annotations

import json

import pytest

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.observe.live_candles import Sighting
from reconciler_engine.planning.ledger import Brought, Knowledge
from reconciler_engine.store.evidence_fields import RECENT, encode_fields
from reconciler_engine.store.feeder_watch import FeederWatch
from reconciler_engine.store.scope import Scope

pytestmark = pytest.mark.contract

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC, ETH = Series.parse("BTC-USD:1m"), Series.parse("ETH-USD:1h")
SCOPE = Scope(1, 1, "test")


@pytest.fixture
def watch(redis):
    return FeederWatch(redis, SCOPE)


@pytest.fixture
def write(redis):
    """Let the feeder, or an answer, write the member of a minute."""

    async def put(minute, *, brought=False, series=BTC):
        at = T0 + minute * MINUTE
        await redis.zadd(SCOPE.candle_key(series), {json.dumps({"timestamp": at}): at})
        if brought:
            known = Knowledge(brought=(Brought(Interval(at, at + MINUTE), at),))
            body = encode_fields(known, [RECENT], MINUTE)
            await redis.hset(SCOPE.evidence_key(series), mapping=body)

    return put


async def test_of_what_was_there_at_the_first_look_only_a_forming_bar_is_live(watch, write):
    await write(0)
    await write(0, series=ETH)
    now = T0 + 5 * MINUTE
    await watch.look([BTC, ETH], now)
    assert await watch.read() == {"BTC-USD:1m": Sighting(T0), "ETH-USD:1h": Sighting(T0, T0, now)}


async def test_a_closed_bar_that_no_answer_brought_is_live(watch, write):
    await write(0)
    await watch.look([BTC], T0 + 2 * MINUTE)
    await write(1)
    await watch.look([BTC], T0 + 3 * MINUTE)
    await watch.look([BTC], T0 + 4 * MINUTE)
    assert await watch.read() == {"BTC-USD:1m": Sighting(T0 + MINUTE, T0 + MINUTE, T0 + 3 * MINUTE)}


async def test_a_bar_that_an_answer_brought_is_not(watch, write):
    await write(0)
    await watch.look([BTC], T0 + 2 * MINUTE)
    await write(1)
    await watch.look([BTC], T0 + 3 * MINUTE)
    await write(6, brought=True)
    await watch.look([BTC], T0 + 9 * MINUTE)
    assert await watch.read() == {"BTC-USD:1m": Sighting(T0 + 6 * MINUTE, T0 + MINUTE, T0 + 3 * MINUTE)}


async def test_series_that_cannot_be_read_and_fields_of_others_say_nothing(redis, watch, write):
    await redis.set(SCOPE.candle_key(ETH), "x")
    await write(0)
    for name, body in {"a": "[", "b": "[1]", "c": '["x", 1, 1]', "d": "[-1, 1, 1]", "e": "{}"}.items():
        await redis.hset(SCOPE.key("feeder"), name, body)
    await watch.look([BTC, ETH], T0 + MINUTE // 2)
    assert await watch.read() == {"BTC-USD:1m": Sighting(T0, T0, T0 + MINUTE // 2)}
    assert await redis.pttl(SCOPE.key("feeder")) > 0

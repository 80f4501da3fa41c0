"""The ready gate and the status beside a pass: their cost for Redis and for us.

Workload: the coverage of 6,000 series, written after a pass and read by `status`; an engine's record; and `is_ready`
over the newest 200 bars of a series of 1,000 members.

    round trip     PING, the measure of the others
    is_ready       the ready gate about 200 bars, none of them verified: each is checked to be a candle
    gate           the shipped script's own answer about the same bars
    gate verified  all of them verified: none is read, each is compared with its digest
    gate members   the newest 200 members, half of them verified
    record         an engine's record, written once a second
    engines        all engines' records, as `status` reads them
    cover          the coverage of every series, after each pass
    covered        the same read, a thousand a time, by `status`

Goal: none holds the server for longer than a scan's own batch (about a millisecond). As a test: each says what was
written.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio
from benches.feeder_members import feeder_member, feeder_pairs
from tests.integration.verified_bars import block_fields_of

from reconciler_engine.engine.ready import is_ready
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.coverage import Checked, Coverage
from reconciler_engine.store.ready_question import READY_TEXT
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import StatusBoard

SCOPE = Scope.of(1, 1, "https://api.coinbase.com")
STEP = Timeframe.M1.step_ms
BTC, ALL, HALF = (Series(symbol, Timeframe.M1) for symbol in ("BTC-USD", "ALL-USD", "HALF-USD"))


def test_ready_and_status(redis_url, comparison) -> None:
    trio.run(_compare, redis_url, comparison)


async def _compare(redis_url, comparison) -> None:
    many = 6_000 if comparison.is_timed else 60
    forming = Timeframe.M1.floor(time.time_ns() // 1_000_000)
    candles = [Candle(forming - age * STEP, 1.5, 2, 1, 1.75, 3) for age in range(999, -1, -1)]
    rows = [Checked(Series(f"A{number}-USD", Timeframe.M1), Interval(0, 30 * STEP), NOTHING) for number in range(many)]
    status = EngineStatus(
        node="host:1", command="bench", version="1", simulated=False, user_id=1, exchange_id=1, source=SCOPE.source,
        started_at=0, written_at=1, processes=(), jobs=(), budget=None,
    )  # fmt: skip
    async with TrioRedis.from_url(redis_url) as client:
        await client.execute_command("ZADD", SCOPE.candle_key(BTC), *feeder_pairs(BTC, candles))
        sha = await client.execute_command("SCRIPT LOAD", READY_TEXT)
        for series, verified in ((ALL, candles), (HALF, candles[::2])):
            await client.execute_command("ZADD", SCOPE.candle_key(series), *feeder_pairs(series, candles))
            members = {one.timestamp: feeder_member(series, one).encode() for one in verified}
            fields = block_fields_of(members, STEP)
            await client.execute_command(
                "HSET", SCOPE.evidence_key(series), *(one for two in fields.items() for one in two)
            )
        board, coverage = StatusBoard(client), Coverage(client, SCOPE)
        await board.announce(status)

        def gate(series: Series, *words: str | int) -> Callable[[], Awaitable[bool]]:
            return lambda: client.execute_command("EVALSHA", sha, 1, SCOPE.candle_key(series), 200, 15_000, *words)

        async def ready() -> bool:
            return await is_ready(client, "BTC-USD", "1m", 200, max_unverified_ms="any")

        gates = {
            "gate": gate(BTC, "any"),
            "gate verified": gate(ALL, 1_800_000),
            "gate members": gate(HALF, "any", 0, "members"),
        }
        await comparison.run(
            f"ready and status, {many} series",
            {
                "round trip": lambda: client.execute_command("PING"),
                "is_ready": ready,
                **gates,
                "record": lambda: board.write(status),
                "engines": board.read,
                "cover": lambda: coverage.record(rows, forming),
                "covered": coverage.read,
            },
            rounds=15,
        )
        assert await ready()
        assert [await ask() for ask in gates.values()] == [1, 1, 1]
        assert await board.read() == [status]
        assert len(await coverage.read()) == many

"""The wider window of a full pass: its time and its requests, beside those of the window in milliseconds alone.

Caches as the feeder leaves them, the newest 1,000 members of six timeframes: whole, with one hole twenty bars back in
each series, and empty. Requests are those that a pass would plan; the time is that of a pass that only looks, its one
worker in this process. It is asserted that the wider window sees what is lost, and asks for nothing else.
"""

from __future__ import annotations

import trio
from benches.bench_many_series import all_series
from benches.feeder_members import feeder_pairs

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series

MEMBERS = 1_000
HOLE = 20
CONFIG = ReconciliationConfig.check({"base_url": "http://127.0.0.1:9"})
WINDOW_MS, BARS = CONFIG.full_reconcile_window_ms, CONFIG.window_bars


async def fill(parts: Parts, series: list[Series]) -> None:
    """Give each series its newest members, the forming bar among them."""
    now = await parts.clock.now()
    for one in series:
        step = one.timeframe.step_ms
        last = one.timeframe.floor(now)
        candles = (Candle(last - number * step, 10.5, 11.25, 10.0, 10.75, 1.5) for number in range(MEMBERS))
        await parts.client.execute_command("ZADD", parts.scope.candle_key(one), *feeder_pairs(one, candles))


async def requests(parts: Parts, series: list[Series]) -> tuple[int, int]:
    """Return what a pass would ask for: by milliseconds alone, and with the newest bars and members."""
    before = await parts.surveyor.survey(series, WINDOW_MS)
    after = await parts.surveyor.survey(series, WINDOW_MS, bars=BARS)
    return before.plan.requests, after.plan.requests


def test_a_full_pass_over_the_newest_bars(redis_url, comparison):
    trio.run(compare, redis_url, comparison, all_series(50 if comparison.is_timed else 2))


async def compare(redis_url, comparison, series: list[Series]) -> None:
    products = len(series) // 6
    async with open_parts(CONFIG, redis_url, owns_server=False) as parts, trio.open_nursery() as nursery:
        await nursery.start(parts.worker(None).run)
        empty = await requests(parts, series)
        await fill(parts, series)
        whole = await requests(parts, series)

        async def look(bars: int) -> None:
            result = await parts.reconciler.run_pass(PassRequest("full", series, WINDOW_MS, repair=False, bars=bars))
            assert (result.missing, result.errors) == (0, ())

        ways = {"6 h": lambda: look(0), f"and {BARS} bars": lambda: look(BARS)}
        await comparison.run(f"a full pass that finds nothing, {len(series)} series", ways, rounds=7)
        for one in series:
            lost = one.timeframe.floor(await parts.clock.now()) - HOLE * one.timeframe.step_ms
            await parts.client.execute_command("ZREMRANGEBYSCORE", parts.scope.candle_key(one), lost, lost)
        holes = await requests(parts, series)
        nursery.cancel_scope.cancel()
    comparison.tell(
        f"requests of a full pass over {products} products by 6 h, and with the newest {BARS} bars: of an empty cache "
        f"{empty[0]} and {empty[1]}, of a whole one {whole[0]} and {whole[1]}, of one hole {HOLE} bars back in each "
        f"series {holes[0]} and {holes[1]}"
    )
    # six hours of 1m are two pages, and three of the six timeframes reach twenty bars back in them
    assert empty == (7 * products, 7 * products)
    assert whole == (0, 0)
    assert holes == (3 * products, 6 * products)

"""Clocks that disagree: this node's, Redis', the exchange's."""

from __future__ import annotations

import pytest
import trio
from tests.integration.engines import DENSE, engine
from tests.integration.house import open_house

from reconciler_engine.engine.scheduled_passes import GAP_SCAN, ScheduledPasses
from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.ledger import Ledger

HOUR = 3_600_000
NEAR = 60_000
"""Time that a loaded machine may take between two looks at a clock (ms), far less than the clocks' difference."""


@pytest.mark.parametrize("ahead", [-HOUR, HOUR])
async def test_the_earlier_of_the_exchanges_clock_and_redis_holds(redis_url, ahead):
    async with engine(redis_url, symbols=["BTC-USD"], timeframes=["1m"]) as run:
        clock = run.parts.clock
        run.exchange.clock.set(await clock.redis_now() + ahead)
        await clock.measure_when_due(run.sources[0], run.parts.bucket)
        skew = await clock.skew_ms()
        assert skew is not None
        assert abs(skew - ahead) < NEAR
        assert abs(await clock.now() - await clock.redis_now() - min(0, ahead)) < NEAR
        result = await ScheduledPasses(run.parts, [DENSE], now=lambda: 0).perform(GAP_SCAN)
        # where the exchange is behind, no bar of its future is asked for
        assert abs(result.series[0].stop - await clock.redis_now() - min(0, ahead)) < 4 * NEAR
        assert result.filled == 30


async def test_a_redis_clock_set_ahead_meanwhile_proves_nothing_of_bars_to_come(redis_url):
    async with engine(redis_url, symbols=["BTC-USD"], timeframes=["1m"]) as run:
        clock = run.parts.clock
        await clock.measure_when_due(run.sources[0], run.parts.bucket)
        run.exchange.clock.set(await clock.redis_now() - 10 * NEAR)
        (row,) = (await ScheduledPasses(run.parts, [DENSE], now=lambda: 0).perform(GAP_SCAN)).series
        assert (row.missing, row.filled + row.unresolved, row.requests) == (30, 30, 1)
        # nor is the one written that is forming there
        (held,) = await run.parts.store.read([(DENSE, Interval(row.start, row.stop))])
        assert len(held.timestamps) == row.filled > 0
        assert held.timestamps[-1] + NEAR <= run.exchange.clock.now()
        (known,) = await run.parts.evidence.read([(DENSE, Interval(row.start, row.stop))])
        assert known.ledger == Ledger()


@pytest.mark.parametrize("off", [-HOUR, HOUR])
async def test_this_nodes_own_clock_moves_no_window(redis_url, off):
    async with engine(redis_url, symbols=["BTC-USD"], timeframes=["1m"]) as run:
        redis_now = run.parts.clock.redis_now
        ours = await redis_now() + off
        result = await ScheduledPasses(run.parts, [DENSE], now=lambda: ours).perform(GAP_SCAN)
        assert abs(result.series[0].stop - await redis_now()) < 4 * NEAR
        assert result.filled == 30


async def test_a_long_push_back_does_not_end_the_clocks_duty(redis_url, caplog):
    async with open_house(redis_url) as house:
        await house.parts.bucket.converse(house.parts.bucket.steps.push_back(600_000))
        with caplog.at_level("INFO"):
            await house.parts.clock.measure_when_due(house.source, house.parts.bucket)
        assert "the exchange's clock could not be read" in caplog.text
        assert await house.parts.clock.skew_ms() is None
        assert [record.path for record in house.log.records] == []


async def test_whoever_dies_while_it_measures_leaves_that_to_others_a_minute_later(redis_url):
    async with open_house(redis_url) as house:
        with trio.CancelScope() as life:
            # from the next command on, wherever it stands
            house.parts.client.execute_command = once(house.parts.client.execute_command, life.cancel)
            await house.parts.clock.measure_when_due(house.source, house.parts.bucket)
        del house.parts.client.execute_command
        assert await house.parts.clock.skew_ms() is None
        assert 0 < await house.parts.client.ttl(house.parts.scope.key("clock:turn")) <= 60


def once(command, then):
    """The first command is carried out, and what is to be then."""

    async def execute(*args, **options):
        reply = await command(*args, **options)
        then()
        return reply

    return execute


async def test_an_offset_that_is_no_number_is_not_used(redis_url):
    async with open_house(redis_url) as house:
        await house.parts.client.set(house.parts.scope.key("clock:skew_ms"), "soon")
        assert await house.parts.clock.skew_ms() is None
        await house.parts.client.set(house.parts.scope.key("clock:skew_ms"), "-3600000")
        late = await house.parts.clock.redis_now() - await house.parts.clock.now()
        assert 3_590_000 < late <= 3_600_000

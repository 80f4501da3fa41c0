"""An exchange that withholds, and members that stand for nothing: what passes make of them, on a real server."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from tests.integration.engines import DENSE, MINUTE, T0, THIN, Engine, engine, span, truth

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Reason
from reconciler_engine.planning.sightings import APART_MS, RECHECK_MS
from reconciler_engine.planning.verification import Verify
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.store.journal import Journal, Why
from reconciler_engine.store.members import member_of

pytestmark = pytest.mark.contract(cluster_by_mark=True)

WINDOW = span(200)
NOW = T0 + 86_400_000
WITHHOLDING = {"rows": 0, "nth": 3, "seconds": 0, "revise_seed": 0}
QUIET_SLOT = next(at for at in WINDOW.grid(MINUTE) if at > T0 + 50 * MINUTE and at not in truth(THIN, WINDOW))


async def do_pass(run: Engine, *series: Series, verify: Verify = Verify.NONE) -> ReconciliationResult:
    return await run.parts.reconciler.run_pass(PassRequest("test", series, WINDOW, verify=verify))


def candle(at: int, values: Sequence[float]) -> Candle:
    open_, high, low, close, volume = values
    return Candle(at, open_, high, low, close, volume)


async def fill(run: Engine, series: Series, *, without: tuple[int, ...] = ()) -> None:
    there = truth(series, WINDOW)
    await run.put(series, *(candle(at, values) for at, values in there.items() if at not in without))


async def reasons(run: Engine, series: Series) -> set[Reason]:
    (read,) = await run.parts.evidence.read([(series, WINDOW)])
    return {one.finding.reason for one in read.ledger.findings}


def filler(series: Series, at: int) -> str:
    fields = json.loads(member_of(series, Candle(at, 5.0, 5.0, 5.0, 5.0, 1.0)))
    return json.dumps({**fields, "isSynthetic": True})


async def requests_for(run: Engine, symbol: str) -> int:
    return sum(one.product == symbol for one in run.exchange.log.records)


async def test_a_filler_gives_way_to_the_exchanges_candle(redis_url):
    async with engine(redis_url) as run:
        at = T0 + 20 * MINUTE
        await fill(run, DENSE, without=(at,))
        await run.parts.client.zadd(run.key(DENSE), {filler(DENSE, at): at})
        done = await do_pass(run, DENSE)
        assert (done.missing, done.filled, done.unresolved) == (1, 1, 0)
        assert await run.held(DENSE) == truth(DENSE, WINDOW)
        (change,) = await Journal(run.parts.client, run.parts.scope).read([DENSE], since=0, limit=10)
        assert (change.why, change.start) == (Why.FILLER, at)


async def test_a_filler_of_a_slot_without_trades_stays_and_is_complete(redis_url):
    async with engine(redis_url) as run:
        await fill(run, THIN)
        await run.parts.client.zadd(run.key(THIN), {filler(THIN, QUIET_SLOT): QUIET_SLOT})
        done = await do_pass(run, THIN)
        assert (done.unresolved, done.errors) == (0, ())
        assert QUIET_SLOT in await run.held(THIN)
        assert (await do_pass(run, THIN)).requests == 0


async def test_a_member_that_is_not_a_candle_goes_where_its_slot_is_proved_empty(redis_url):
    async with engine(redis_url) as run:
        await fill(run, THIN)
        await run.parts.client.zadd(run.key(THIN), {"{broken": QUIET_SLOT})
        assert (await do_pass(run, THIN)).unresolved == 0
        assert await run.parts.client.zrangebyscore(run.key(THIN), QUIET_SLOT, QUIET_SLOT) == []
        (change,) = await Journal(run.parts.client, run.parts.scope).read([THIN], since=0, limit=10)
        assert (change.why, change.old) == (Why.FOREIGN, "{broken")


@pytest.mark.parametrize("mode", ["empty", "thinned"])
async def test_an_exchange_that_withholds_proves_nothing(redis_url, mode):
    withheld = FaultRule("withheld", "data", path="*/candles", values={**WITHHOLDING, "data": mode})
    gone = tuple(T0 + slot * MINUTE for slot in (50, 51, 120))
    async with engine(redis_url, faults=[withheld]) as run:
        await fill(run, DENSE, without=gone)
        await run.turn_to(NOW)
        for minutes in (0, 5, 10, 70):
            await run.turn_to(NOW + minutes * MINUTE)
            done = await do_pass(run, DENSE)
            assert (done.confirmed_empty, len(done.errors)) == (0, 1), minutes
            assert "left out" in done.errors[0]
        assert Reason.WITH_REFERENCE not in await reasons(run, DENSE)
        run.exchange.faults.set(())
        await run.turn_to(NOW + 75 * MINUTE)
        done = await do_pass(run, DENSE)
        assert (done.unresolved, done.errors) == (0, ())
        assert await run.held(DENSE) == truth(DENSE, WINDOW)
        assert await reasons(run, DENSE) == set()


async def test_a_series_waits_for_the_next_pass_where_an_answer_lacked_its_candles(redis_url):
    withheld = FaultRule("withheld", "data", path="*/candles", values={**WITHHOLDING, "data": "empty"})
    wide = span(900)
    async with engine(redis_url, faults=[withheld]) as run:
        there = truth(DENSE, wide)
        await run.put(DENSE, *(candle(at, values) for at, values in there.items() if (at - T0) // MINUTE % 300 != 150))
        for pauses, requests in ((False, 3), (True, 1)):
            before = await requests_for(run, "BTC-USD")
            request = PassRequest("test", [DENSE], wide, pauses=pauses)
            done = await run.parts.reconciler.run_pass(request)
            assert await requests_for(run, "BTC-USD") - before == done.requests == requests
            assert done.unresolved == 3


async def test_one_reference_serves_all_series_of_a_timeframe(redis_url):
    thin = [Series(f"{name}-USD", Timeframe.M1) for name in ("DASH", "ZEC", "XMR")]
    listed = [ListedProduct(one.symbol, 35.0, 2, 9_000.0, 6, 2_000, dense=False) for one in thin]
    async with engine(redis_url, market=SeededMarket(4, listed)) as run:
        await run.turn_to(WINDOW.stop + 20 * MINUTE)
        done = await do_pass(run, *thin)
        assert (done.unresolved, done.requests) == (0, 3)
        assert done.references == await requests_for(run, "REF-USD") == 1


@pytest.mark.parametrize(("policy", "is_removed"), [("repair", True), ("report", False)])
async def test_a_candle_that_the_exchange_does_not_have_goes_after_six_hours(redis_url, policy, is_removed):
    async with engine(redis_url, audit_policy=policy) as run:
        await fill(run, THIN)
        await run.put(THIN, Candle(QUIET_SLOT, 5.0, 5.0, 5.0, 5.0, 1.0))
        since = NOW + APART_MS + MINUTE
        for at in (NOW, since, *(since + wait + MINUTE for wait in RECHECK_MS)):
            await run.turn_to(at)
            # Each pass has a reason of its own to ask.
            await run.parts.client.zremrangebyscore(run.key(THIN), min(await run.held(THIN)), min(await run.held(THIN)))
            done = await do_pass(run, THIN, verify=Verify.SUSPECTS)
        # A slot that lost its candle is missing until the exchange is asked about it again.
        assert done.unresolved == is_removed
        assert (QUIET_SLOT not in await run.held(THIN)) is is_removed
        changes = await Journal(run.parts.client, run.parts.scope).read([THIN], since=0, limit=10)
        assert [change.why for change in changes] == [Why.GHOST] * is_removed
        if not is_removed:
            assert await reasons(run, THIN) >= {Reason.NOT_AT_EXCHANGE}

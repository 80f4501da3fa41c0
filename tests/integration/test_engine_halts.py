"""The venue stands still: what the series of a pass show together, on a real server, and what comes of it later."""

from __future__ import annotations

import pytest
from tests.integration.engines import MINUTE, T0, Engine, engine, span

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Finding, Reason, State
from reconciler_engine.planning.sightings import RECHECK_MS
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket

pytestmark = pytest.mark.contract(cluster_by_mark=True)

BTC, ETH, SOL, THIN, ALIAS = (
    Series(name, Timeframe.M1) for name in ("BTC-USD", "ETH-USD", "SOL-USD", "DASH-USD", "BTC-USDC")
)
PRODUCTS = [
    *(ListedProduct(series.symbol, 65_000.0) for series in (BTC, ETH, SOL)),
    ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False),
    ListedProduct("BTC-USDC", 65_000.0, alias_of="BTC-USD"),
]
NOW = T0 + 86_400_000
HALT = span(40, 100)
WINDOW = span(200, 20)
HALTED = SeededMarket(3, PRODUCTS, [HALT])
TRADING = SeededMarket(3, PRODUCTS)


async def do_pass(run: Engine, *series: Series) -> ReconciliationResult:
    return await run.parts.reconciler.run_pass(PassRequest("test", series, WINDOW))


async def known(run: Engine, series: Series) -> dict[int, Finding]:
    """Return the findings in the window, by slot; slots without one are left out."""
    (read,) = await run.parts.evidence.read([(series, WINDOW)])
    return {at: finding for start, stop, finding in read.ledger.findings for at in range(start, stop, MINUTE)}


def states(findings: dict[int, Finding], state: State) -> list[int]:
    return [at for at, finding in findings.items() if finding.state is state]


async def test_slots_without_a_candle_of_any_dense_product_are_halted(redis_url):
    async with engine(redis_url, market=HALTED) as run:
        await run.turn_to(NOW)
        done = await do_pass(run, BTC, ETH, SOL, THIN)
        assert (done.requests, done.unresolved, done.errors) == (4, 0, ())
        for series in (BTC, ETH, SOL):
            findings = await known(run, series)
            assert list(findings) == list(HALT.grid(MINUTE))
            assert {(each.state, each.reason) for each in findings.values()} == {(State.HALTED, Reason.HALTED_TWICE)}
        thin = await known(run, THIN)
        assert states(thin, State.HALTED) == list(HALT.grid(MINUTE))
        assert states(thin, State.EMPTY)
        assert done.confirmed_empty == 3 * len(HALT.grid(MINUTE)) + len(thin)
        for survey in (await run.parts.surveyor.survey([BTC], WINDOW)).series:
            assert survey.slots(State.HALTED) == len(HALT.grid(MINUTE))
            assert survey.slots(State.MISSING, State.EMPTY, State.UNKNOWN) == 0


async def test_a_halt_too_long_to_be_seen_as_one_is_known_once_there_is_trade_around_it(redis_url):
    within = span(45, 95)
    async with engine(redis_url, market=HALTED) as run:
        await run.turn_to(NOW)
        done = await run.parts.reconciler.run_pass(PassRequest("test", [BTC, ETH, SOL], within))
        assert (done.confirmed_empty, done.unresolved) == (3 * len(HALT.grid(MINUTE)), 0)
        assert states(await known(run, BTC), State.EMPTY) == list(HALT.grid(MINUTE))
        # as a feeder leaves them: the later pass has nothing to ask, and confirms nothing new
        there = [Candle(at, 1.0, 1.0, 1.0, 1.0, 1.0) for at in WINDOW.grid(MINUTE) if at not in HALT]
        for series in (BTC, ETH, SOL):
            await run.parts.client.delete(run.key(series))
            await run.put(series, *there)
        assert (await do_pass(run, BTC, ETH, SOL)).requests == 0
        for series in (BTC, ETH, SOL):
            assert states(await known(run, series), State.HALTED) == list(HALT.grid(MINUTE))


async def test_halted_slots_are_asked_for_after_one_and_six_hours_and_stay_halted(redis_url):
    async with engine(redis_url, market=HALTED) as run:
        for since, requests in (
            (0, 3),
            (RECHECK_MS[0] - MINUTE, 0),
            (RECHECK_MS[0] + MINUTE, 3),
            (RECHECK_MS[1] - MINUTE, 0),
            (RECHECK_MS[1] + MINUTE, 3),
            (10 * RECHECK_MS[1], 0),
        ):
            await run.turn_to(NOW + since)
            done = await do_pass(run, BTC, ETH, SOL)
            assert (done.requests, done.unresolved) == (requests, 0), since
            findings = await known(run, BTC)
            assert states(findings, State.HALTED) == list(HALT.grid(MINUTE)), since
        assert {(each.next_check, each.sightings) for each in findings.values()} == {(None, 3)}


async def test_what_was_traded_after_all_wins_over_the_halt(redis_url):
    """The exchange had not told yet: a recheck finds the candles, and counts them as late."""
    async with engine(redis_url, market=HALTED) as run:
        await run.turn_to(NOW)
        await do_pass(run, BTC, ETH, SOL)
        run.exchange.market = TRADING
        await run.turn_to(NOW + RECHECK_MS[0] + MINUTE)
        done = await do_pass(run, BTC, ETH, SOL)
        slots = len(HALT.grid(MINUTE))
        assert (done.filled, done.confirmed_empty, done.requests) == (3 * slots, 0, 3)
        for series in (BTC, ETH, SOL):
            assert await known(run, series) == {}
            assert await run.parts.evidence.late(series) == slots
            assert list(await run.held(series)) == list(WINDOW.grid(MINUTE))


@pytest.mark.parametrize("series", [[BTC, ETH], [BTC, ETH, THIN], [BTC, ETH, ALIAS]], ids=["two", "thin", "alias"])
async def test_fewer_than_three_dense_books_prove_no_halt(redis_url, series):
    async with engine(redis_url, market=HALTED) as run:
        await run.turn_to(NOW)
        # As the exchange lists them: the alias shows the book of another one.
        await run.parts.products.keep(await run.sources[0].fetch_products(), T0)
        done = await do_pass(run, *series)
        assert done.unresolved == 0
        for one in series:
            findings = await known(run, one)
            assert states(findings, State.HALTED) == []
            assert set(HALT.grid(MINUTE)) <= set(states(findings, State.EMPTY))

"""Bad rows of the exchange on a real server: each costs its own slot, and one request, in passes and in backfill."""

from __future__ import annotations

import pytest
from tests.integration.engines import DENSE, MINUTE, T0, THIN, engine, truth

from reconciler_engine.engine.backfill.progress import BackfilledSeries
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Reason, State
from reconciler_engine.planning.sightings import DAILY_MS
from reconciler_engine.simulator.faults.modes import SHAPES
from reconciler_engine.simulator.faults.rules import FaultRule

KINDS = [shape for shape in SHAPES if shape not in ("object", "null", "list")]
TIMEFRAMES = [
    pytest.param(one, marks=() if one is Timeframe.M1 else pytest.mark.soak, id=one.value) for one in Timeframe
]
NTH = 1_000


def find_bad(timeframe: Timeframe) -> int:
    """Return the open time of a slot whose row is bad in every answer, the only one far and wide."""
    row = NTH * timeframe.step_ms
    at = -(-T0 // row) * row
    # The days of the next one are still to come.
    return at - row if timeframe is Timeframe.D1 else at


def around(timeframe: Timeframe, before: int, slots: int) -> Interval:
    """Return a stretch that begins so many slots before the bad one."""
    start = find_bad(timeframe) - before * timeframe.step_ms
    return Interval(start, start + slots * timeframe.step_ms)


BAD = find_bad(DENSE.timeframe)
WINDOW = around(DENSE.timeframe, 100, 241)
PASS = PassRequest("test", [DENSE], WINDOW)


def bad(kind: str, series: Series = DENSE) -> FaultRule:
    return FaultRule("bad", "shape", product=series.symbol, values={"shape": kind, "rows": 1, "nth": NTH})


async def finding(run, series=DENSE):
    (read,) = await run.parts.evidence.read([(series, around(series.timeframe, 0, 1))])
    return read.ledger.at(BAD)


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_pass_fills_all_slots_but_the_bad_one_by_one_request(redis_url, kind, timeframe):
    series, window = Series(DENSE.symbol, timeframe), around(timeframe, 100, 241)
    async with engine(redis_url, faults=[bad(kind)]) as run:
        done = await run.parts.reconciler.run_pass(PassRequest("test", [series], window))
        assert (done.requests, done.missing, done.filled, done.unresolved) == (1, 241, 240, 1)
        (row,) = done.series
        assert [error.partition(":")[0] for error in row.errors] == ["1 row unusable, first"]
        there = truth(series, window)
        del there[find_bad(timeframe)]
        assert await run.held(series) == there


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("product", [DENSE, THIN], ids=lambda one: one.symbol)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_backfill_fills_all_slots_but_the_bad_one_and_goes_on(redis_url, kind, product, timeframe):
    series, whole = Series(product.symbol, timeframe), around(timeframe, 450, 900)
    there = truth(series, whole)
    assert there.pop(find_bad(timeframe), None)
    async with engine(redis_url, faults=[bad(kind, series)]) as run:
        (row,) = (await run.backfill([series], whole)).series
        assert isinstance(row, BackfilledSeries)
        assert await run.held(series) == there
        assert row.filled == len(there)
        if product is DENSE:
            # A second look asks once more for a row that may be good by then.
            assert (row.requests, row.unresolved) == (3 + (kind != "unreadable_start"), 1)
        elif kind != "unreadable_start":
            assert row.unresolved == 1
        assert row.verified_to == whole.stop
        assert [error.partition(":")[0] for error in row.errors] == ["1 row unusable, first"]


async def test_a_bad_row_delays_no_pass_for_four_minutes_then_rests_until_it_is_good(redis_url):
    async with engine(redis_url, faults=[bad("inverted")]) as run:
        now = WINDOW.stop + 2 * DAILY_MS
        asked = []
        for minutes in (0, 3, 5, 10, 59, 61, 90, 359, 361, 700, 1_800, 1_802):
            await run.turn_to(now + minutes * MINUTE)
            done = await run.parts.reconciler.run_pass(PASS)
            assert done.unresolved == 1
            asked += [minutes] * done.requests
        # By each scan, less and less often, until two answers four minutes apart had it; then 1 h and 6 h later, daily.
        assert asked == [0, 3, 10, 61, 361, 1_802]
        known = await finding(run)
        assert (known.state, known.reason, known.sightings) == (State.MISSING, Reason.ROW_UNUSABLE, 6)
        run.exchange.faults.set([])
        await run.turn_to(now + 1_803 * MINUTE + DAILY_MS)
        done = await run.parts.reconciler.run_pass(PASS)
        assert (done.requests, done.filled, done.unresolved, done.errors) == (1, 1, 0, ())
        assert await finding(run) is None


async def test_a_bad_row_of_a_slot_that_holds_a_candle_costs_nothing(redis_url):
    async with engine(redis_url, faults=[bad("zero_price")]) as run:
        run.exchange.faults.set([])
        await run.parts.reconciler.run_pass(PASS)
        await run.parts.client.zremrangebyscore(run.key(DENSE), BAD - MINUTE, BAD - MINUTE)
        run.exchange.faults.set([bad("zero_price")])
        done = await run.parts.reconciler.run_pass(PASS)
        assert (done.requests, done.filled, done.unresolved, done.errors) == (1, 1, 0, ())
        assert await run.held(DENSE) == truth(DENSE, WINDOW)
        # Its candle cannot be verified: that rests.
        found = await finding(run)
        assert found is not None
        assert found.reason is Reason.ROW_UNUSABLE

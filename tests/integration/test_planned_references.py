"""References that a plan tells: at least those that are asked for, and none where nothing could want one."""

from __future__ import annotations

import pytest
from tests.integration.engines import DENSE, MINUTE, T0, THIN, engine, span, truth

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series
from reconciler_engine.planning.verification import Verify

WINDOW = span(600)


def candles(series: Series, without: set[int]) -> list[Candle]:
    there = truth(series, WINDOW)
    return [
        Candle(at, open_, high, low, close, volume)
        for at, (open_, high, low, close, volume) in there.items()
        if (at - T0) // MINUTE not in without
    ]


@pytest.mark.parametrize(
    ("series", "held", "without", "references"),
    [
        (THIN, False, set(), 2),
        (DENSE, False, set(), 2),
        (DENSE, True, {100, 400}, 0),
        (DENSE, True, set(range(20, 300)), 1),
    ],
    ids=["nothing held", "nothing held of a dense one", "a hole among candles", "more holes than candles"],
)
async def test_a_pass_asks_for_no_more_references_than_its_plan_tells(redis_url, series, held, without, references):
    async with engine(redis_url) as run:
        if held:
            await run.put(series, *candles(series, without))
        plan = (await run.parts.surveyor.survey([series], WINDOW, verify=Verify.NONE)).plan
        assert plan.references == references
        done = await run.parts.reconciler.run_pass(PassRequest("test", [series], WINDOW))
        assert done.requests >= plan.requests
        assert done.references <= plan.references + done.requests - plan.requests
        assert (await run.parts.surveyor.survey([series], WINDOW, verify=Verify.NONE)).plan.references == 0


async def test_without_a_product_list_a_plan_tells_none(redis_url):
    async with engine(redis_url, reference=False) as run:
        plan = await run.parts.history.plan([THIN], WINDOW)
        assert (plan.requests, plan.references) == (2, 0)


async def test_a_backfill_asks_for_no_more_references_than_its_plan_tells(redis_url):
    async with engine(redis_url) as run:
        plan = await run.parts.history.plan([THIN, DENSE], WINDOW)
        # Pages over the same slots share one.
        assert (plan.requests, plan.references) == (4, 2)
        done = await run.backfill([THIN, DENSE], WINDOW)
        assert 0 < done.references <= plan.references + done.requests - plan.requests

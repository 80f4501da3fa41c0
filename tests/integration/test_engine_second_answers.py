"""Answers that would take volume away, or that look like another product's: nothing gives way until a second agrees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.integration.engines import DENSE, MINUTE, T0, Engine, engine, span, truth
from tests.integration.wrong_candles import at, cut, do_pass, fill, journal

from reconciler_engine.market.candle import Candle
from reconciler_engine.planning.verification import DEFAULT_SETTLE_MS
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket

HOUR = 3_600_000
ALL: dict[str, Any] = {"full_reconcile_verify": "all"}
OTHER: dict[str, str | float] = {"data": "product", "rows": 0, "nth": 3, "seconds": 0, "revise_seed": 0}


async def age(run: Engine, minutes: int) -> None:
    """Let the engine's clock show so many minutes after the tenth slot settled."""
    await run.turn_to(at(10) + DEFAULT_SETTLE_MS + minutes * MINUTE)


async def reasons(run: Engine, slots: int) -> dict[str, int]:
    """Slots that are not ready, by their reason."""
    (row,) = (await run.parts.surveyor.survey([DENSE], span(slots))).series
    return {one.value: count for one, count in row.obstacles.items()}


async def test_a_doubled_candle_gives_way_four_minutes_later(redis_url):
    async with engine(redis_url) as run:
        await fill(run, [slot for slot in range(10) if slot != 5], cut(3, 2.0), cut(7, 0.5))
        await age(run, 0)
        first = await do_pass(run, 10)
        assert (first.requests, first.mismatched, first.repaired) == (1, 2, 1)
        assert await reasons(run, 10) == {"waiting for a second answer": 1}
        await age(run, 3)
        assert (await do_pass(run, 10)).requests == 0
        await age(run, 5)
        second = await do_pass(run, 10)
        assert (second.requests, second.repaired) == (1, 1)
        assert await run.held(DENSE) == truth(DENSE, span(10))
        assert (await reasons(run, 10), (await do_pass(run, 10)).requests) == ({}, 0)


async def test_an_answer_of_another_product_replaces_and_fills_nothing(redis_url):
    market = SeededMarket(3, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("ETH-USD", 3_000.0)])
    other = FaultRule("other", "data", product="BTC-USD", count=1, values=OTHER)
    async with engine(redis_url, market=market, faults=[other], **ALL) as run:
        bars = [*market.bars("BTC-USD", DENSE.timeframe, span(10), T0 + HOUR)]
        there = [
            Candle(at, float(open_), float(high), float(low), float(close), float(volume))
            for at, open_, high, low, close, volume in bars
        ]
        # Slot 5 is missing.
        await run.put(DENSE, *there[1:5], *there[6:], replace(there[0], volume=there[0].volume / 2))
        before = await run.held(DENSE)
        await age(run, 0)
        first = await do_pass(run, 10)
        assert (first.requests, first.mismatched, first.repaired, first.filled) == (1, 9, 0, 0)
        assert "another product" in first.errors[0]
        assert await run.held(DENSE) == before
        assert (await reasons(run, 10))["waiting for a second answer"] == 9
        (read,) = await run.parts.evidence.read([(DENSE, span(10))])
        assert not read.known.exists
        # The next answer is right: it repairs the one that is wrong and frees the others.
        await age(run, 5)
        second = await do_pass(run, 10)
        assert (second.requests, second.mismatched, second.repaired, second.filled) == (1, 1, 1, 1)
        assert (len(await journal(run)), await reasons(run, 10)) == (1, {})


async def test_a_bar_that_has_not_settled_is_not_compared(redis_url):
    async with engine(redis_url, settle_ms=HOUR, max_unverified_ms=2 * HOUR, **ALL) as run:
        await fill(run, range(10), cut(3))
        # Slot 3 settles an hour after its close; the clock goes on meanwhile.
        for instant, repaired in ((at(3) + HOUR, 0), (at(4) + HOUR, 1)):
            await run.turn_to(instant)
            result = await do_pass(run, 10)
            assert (result.requests, result.mismatched, result.repaired) == (1, repaired, repaired)
            assert await reasons(run, 10) == {}

"""Days on which slots without trades settle: how many passes, minutes and requests it takes until the gate says yes.

Passes run as scheduled: a full one as the engine starts, a scan every five minutes, a full one each hour. The hours
before the start are to settle, or, after a halt, those before its end. Ends with a figure for each day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from tests.integration.engines import MINUTE
from tests.integration.market_days import (
    FULL_MS,
    MIDNIGHT,
    MarketDay,
    dense,
    market_day,
    reference_requests,
    thin,
)

from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket

HOUR = 60 * MINUTE
BEGINS = MIDNIGHT + 9 * HOUR + 2 * MINUTE + MINUTE // 2
HALT = Interval(BEGINS + 10 * MINUTE - MINUTE // 2, BEGINS + 190 * MINUTE - MINUTE // 2)
OPENING = BEGINS + 35 * MINUTE - MINUTE // 2
WEEKEND = Interval(BEGINS - 30 * HOUR, BEGINS + 19 * HOUR)
SETTLED_MS = FULL_MS - 130 * MINUTE
"""Slots that a day is to settle: those that the full passes of the next two hours examine, too."""
QUIET = 500
"""Trades a day of products without any in 60 % of their minutes."""


@dataclass(frozen=True)
class Case:
    """One day.

    Attributes:
        products: The products watched.
        held: Share of the candles that the caches hold at the start.
        most_passes: Passes until all is settled, at most.
        closed: When products do not trade.
        timeframes: The timeframes watched.
        is_fed: Whether a feeder writes.
        settles: Instant of which the hours before it are to settle (ms UTC).
        has_reference: Whether the product list names a product for references.
    """

    products: Sequence[ListedProduct]
    held: float
    most_passes: int
    closed: Mapping[str, Sequence[Interval]] = field(default_factory=dict)
    timeframes: Sequence[Timeframe] = (Timeframe.M1, Timeframe.M5, Timeframe.H1)
    is_fed: bool = False
    settles: int = BEGINS
    has_reference: bool = True

    @property
    def series(self) -> list[Series]:
        return [Series(one.symbol, timeframe) for one in self.products for timeframe in self.timeframes]


QUIETS = [thin(f"QUIET{number}-USD", QUIET) for number in range(3)]
DENSES = [dense(f"DENSE{number}-USD") for number in range(3)]
FUTURES = [thin(f"F{number}-27MAR26-CDE", QUIET) for number in range(3)]
CASES = {
    "60 % empty, full caches": Case(QUIETS, 1.0, 3),
    "60 % empty, half full caches": Case(QUIETS, 0.5, 3),
    "60 % empty, empty caches": Case(QUIETS, 0.0, 3),
    "one dense product alone": Case(DENSES[:1], 0.0, 1),
    "one thin product alone": Case(QUIETS[:1], 0.0, 3),
    "futures over a weekend": Case(FUTURES, 1.0, 15, {one.symbol: [WEEKEND] for one in FUTURES}),
    "futures that open after a weekend": Case(
        FUTURES,
        1.0,
        6,
        {one.symbol: [Interval(WEEKEND.start, OPENING)] for one in FUTURES},
        is_fed=True,
        settles=OPENING + MINUTE // 2,
    ),
    "one thin product alone, no reference to be had": Case(QUIETS[:1], 0.0, 27, has_reference=False),
    "a listing forty minutes old": Case(
        [thin("NEW-USD", 20_000, listed=BEGINS - 40 * MINUTE)], 0.0, 14, timeframes=(Timeframe.M1, Timeframe.M5)
    ),
    "half an hour's halt of three products": Case(
        DENSES,
        1.0,
        18,
        {"*": [Interval(HALT.start, HALT.start + 30 * MINUTE)]},
        timeframes=(Timeframe.M1,),
        is_fed=True,
        settles=HALT.start + 30 * MINUTE + MINUTE // 2,
    ),
    "three hours' halt of three products": Case(
        DENSES, 1.0, 24, {"*": [HALT]}, is_fed=True, settles=HALT.stop + MINUTE // 2
    ),
    "three hours' halt of one product": Case(
        DENSES[:1], 1.0, 24, {"*": [HALT]}, is_fed=True, settles=HALT.stop + MINUTE // 2
    ),
}


async def is_settled(day: MarketDay, case: Case) -> bool:
    return day.now >= case.settles and await day.ready(SETTLED_MS, at=case.settles) == list(day.series)


async def settle(redis_url, case: Case) -> tuple[int, str]:
    """Live through a day until it is settled; return the passes that took, and its figure."""
    minutes = (case.settles - BEGINS) // MINUTE + 150
    market = SeededMarket(8, case.products)
    async with market_day(
        redis_url,
        market,
        case.series,
        begins=BEGINS,
        minutes=minutes,
        is_fed=case.is_fed,
        closed=case.closed,
        reference=case.has_reference,
    ) as day:
        for series in case.series:
            step = series.timeframe.step_ms
            there = day.existing(series, Interval(0, day.window(series).stop))
            await day.fill(series, [at for at in there if at // step % 10 < 10 * case.held])
        await day.do_pass(FULL_RECONCILE)
        while not await is_settled(day, case) and day.now < BEGINS + minutes * MINUTE:
            await day.go_on(1)
        settled = await is_settled(day, case)
        after = [one for at, _, one in day.passes if at >= case.settles]
        requests = sum(one.requests for _, _, one in day.passes)
        figure = (
            f"{'settled' if settled else 'NOT settled'} after {len(after)} passes, "
            f"{(day.now - case.settles) // MINUTE} minutes; {requests} requests and {reference_requests(day)} "
            f"references since the start, {len(case.series)} series, {len(await day.ready(FULL_MS))} of them ready now"
        )
        return len(after), figure


LONG = {one for one in CASES if "weekend" in one or "three hours" in one or "no reference" in one}
MARKS = dict.fromkeys(LONG, pytest.mark.soak) | {"half an hour's halt of three products": pytest.mark.slow}


@pytest.mark.parametrize("name", [pytest.param(one, marks=MARKS.get(one, ())) for one in CASES])
async def test_slots_without_trades_settle(redis_url, tell_figure, name):
    passes, figure = await settle(redis_url, CASES[name])
    tell_figure(f"{name}: {figure}")
    assert "NOT" not in figure
    assert passes <= CASES[name].most_passes

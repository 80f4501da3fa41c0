"""Every kind of bad row on every timeframe: its own slot is left open, and no other; from the answer to the ledger."""

from __future__ import annotations

import pytest

from reconciler_engine.coinbase.candles import CandlePage, parse_candles
from reconciler_engine.engine.tasks.page_cache import answer_of
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import Venue
from reconciler_engine.planning.ledger import Knowledge, Ledger, Reason, State
from reconciler_engine.planning.proof import Verdict, judge
from reconciler_engine.simulator.api_response import give_json
from reconciler_engine.simulator.faults.modes import SHAPES
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.simulator.faults.spoilt_answers import spoil_shape
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket

KINDS = [shape for shape in SHAPES if shape not in ("object", "null", "list")]
T0 = 1_735_689_600_000
SLOTS = 60
MARKET = SeededMarket(
    3, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False)]
)


def ask(symbol: str, timeframe: Timeframe, kind: str, rows: int = 1) -> tuple[CandlePage, Verdict, set[int], set[int]]:
    """Return a page whose middle rows are bad, what it proves, the open times of its good rows and of those."""
    asked = Interval(T0, T0 + SLOTS * timeframe.step_ms)
    served = MARKET.rows(symbol, timeframe, asked, asked.stop)[::-1]
    right = give_json(f'{{"candles":[{",".join(served)}]}}', len(served))
    rule = FaultRule("bad", "shape", values={"shape": kind, "rows": rows, "nth": 0})
    spoilt = spoil_shape(rule, right, {"granularity": timeframe.granularity})
    series = Series(symbol, timeframe)
    page = parse_candles(spoilt.body, series, asked)
    there = {candle.timestamp for candle in parse_candles(right.body, series, asked).candles}
    answer = answer_of(page, asked, asked.stop + 86_400_000, timeframe.step_ms)
    good = {candle.timestamp for candle in page.candles}
    return page, judge(Knowledge(), answer, NOTHING, Venue(has_reference=True), timeframe.step_ms), good, there - good


@pytest.mark.parametrize("symbol", ["BTC-USD", "DASH-USD"])
@pytest.mark.parametrize("timeframe", Timeframe)
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_row_leaves_its_own_slot_open_and_no_other(kind: str, timeframe: Timeframe, symbol: str) -> None:
    page, verdict, good, (bad,) = ask(symbol, timeframe, kind)
    step = timeframe.step_ms
    assert page.fault is not None
    assert page.fault.startswith("1 row unusable, first: ")
    assert all(verdict.known.ledger.at(instant) is None for instant in good)
    found = verdict.known.ledger.at(bad)
    if kind == "unreadable_start":
        assert (page.unusable, page.unreadable, verdict.known.ledger) == ((), 1, Ledger())
        return
    assert (page.unusable, page.unreadable) == ((bad,), 0)
    assert found is not None
    assert (found.state, found.reason) == (State.MISSING, Reason.ROW_UNUSABLE)
    between = Interval(min(good), max(good))
    absent = {instant for instant in between.grid(step) if instant not in good and instant != bad}
    assert {instant for instant in between.grid(step) if instant in empties(verdict, step)} == absent


def empties(verdict: Verdict, step: int) -> set[int]:
    spans = verdict.known.ledger.confirmed(Interval(0, 1 << 53))
    return {instant for span in spans for instant in span.grid(step)}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("unreadable_start", "unaligned")])
def test_many_bad_rows_leave_as_many_slots_open(kind: str) -> None:
    page, verdict, good, bad = ask("BTC-USD", Timeframe.M5, kind, rows=SLOTS // 2)
    assert page.unusable == tuple(sorted(bad))
    assert len(good) == len(bad) == SLOTS // 2
    spoilt = verdict.known.ledger.where(page.interval, lambda found: found.reason is Reason.ROW_UNUSABLE)
    assert spoilt == Intervals.of_slots(page.unusable, Timeframe.M5.step_ms)

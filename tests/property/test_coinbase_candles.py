"""A page is exactly what was asked, and a wrong answer is always refused with one of our errors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.coinbase.candles import parse_candles
from reconciler_engine.coinbase.refusals import refusal
from reconciler_engine.coinbase.wire import candles_query, parse_time
from reconciler_engine.errors import SourceError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

TIMEFRAMES = st.sampled_from(Timeframe)
PRICES = st.floats(0, 1e12, exclude_min=True, allow_nan=False)
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.none()), st.just({})
)


def row(start: int, low: float, spread: float, volume: float) -> dict[str, object]:
    values = {"open": low, "high": low + spread, "low": low, "close": low + spread, "volume": volume}
    return {"start": str(start // 1_000), **{name: repr(value) for name, value in values.items()}}


@given(st.data(), TIMEFRAMES, st.integers(0, 20_000), st.integers(1, 300))
def test_a_faithful_answer_comes_back_whole(data: st.DataObject, timeframe: Timeframe, first: int, count: int) -> None:
    step = timeframe.step_ms
    interval = Interval(first * step, (first + count) * step)
    query = candles_query(timeframe, interval)
    # The exchange of this test returns both ends, as one reading of its documents says, and one bar before.
    served = range(max(int(query["start"]) * 1_000 - step, 0), int(query["end"]) * 1_000 + step, step)
    # All or all but one: another timeframe's rows are told from ours by their holes.
    hole = data.draw(st.one_of(st.none(), st.sampled_from(served)))
    rows = [
        row(t, data.draw(PRICES), 1.0, 2.0) if t == served[0] else row(t, 5.0, 1.0, 2.0) for t in served if t != hole
    ]
    repeated = data.draw(st.lists(st.sampled_from(rows), max_size=3)) if rows else []
    shuffled = data.draw(st.permutations(rows + repeated))
    page = parse_candles(json.dumps({"candles": shuffled}).encode(), Series("BTC-USD", timeframe), interval)
    assert [candle.timestamp for candle in page.candles] == [t for t in served if t in interval and t != hole]
    assert (page.rows, page.duplicates, page.covering) == (len(shuffled), len(repeated), True)
    assert page.outside == sum(t not in interval for t in served if t != hole)


@given(
    st.lists(
        st.one_of(ODD, st.dictionaries(st.sampled_from(["start", "open", "low"]), st.one_of(ODD, st.just("0")))),
        min_size=1,
        max_size=3,
    )
)
def test_odd_rows_are_left_out_and_cost_no_other_row(rows: list[object]) -> None:
    good = [row(at, 5.0, 1.0, 2.0) for at in range(60_000, 600_000, 60_000)]
    body = json.dumps({"candles": [*good[:3], *rows, *good[3:]]}).encode()
    page = parse_candles(body, Series("BTC-USD", Timeframe.M1), Interval(0, 600_000))
    assert [candle.timestamp for candle in page.candles] == list(range(60_000, 600_000, 60_000))
    assert set(page.unusable) <= {0}
    assert page.unusable or not page.covering
    assert len(str(page.fault)) < 250


@given(st.binary(max_size=60), st.integers(100, 999).filter(lambda status: status != 200))
def test_any_bytes_are_one_of_our_errors(body: bytes, status: int) -> None:
    with pytest.raises(SourceError) as clock:
        parse_time(body)
    with pytest.raises(SourceError) as page:
        parse_candles(body, Series("BTC-USD", Timeframe.M1), Interval(0, 60_000))
    for error in (clock.value, page.value, refusal(status, {}, body, 0)):
        assert isinstance(error, SourceError)
        assert len(str(error)) < 250

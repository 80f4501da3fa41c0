"""Members as written: native and pure write the same candle, and it reads back as the one that was given."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine import _native
from reconciler_engine.detection.members import check_members
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.members import member_of, pairs_of, write_members_pure

BTC = Series("BTC-USD", Timeframe.M5)
STEP = BTC.timeframe.step_ms
NAMES = '"symbol":"BTC-USD","timeframe":"5m"'
WRITERS = [_native.write_members, write_members_pure]

prices = st.floats(0, sys.float_info.max, exclude_min=True)


@st.composite
def candles(draw):
    low, *middle, high = sorted(draw(st.tuples(prices, prices, prices, prices)))
    return Candle(
        draw(st.integers(0, 2**53 // STEP)) * STEP,
        middle[0],
        high,
        low,
        middle[1],
        draw(st.just(0.0) | prices),
        draw(st.none() | st.integers(0, 2**53)),
    )


@pytest.mark.parametrize("write", WRITERS)
def test_writes_numbers_as_the_feeder_does(write):
    one = Candle(1_725_100_000_000, 88_000.0, 88_000.5, 0.25, 1.0, 0.0)
    live = Candle(1_725_100_300_000, 1.0, 1.0, 1.0, 1.0, 2.5, sequence_num=7)
    assert write(iter([one, live]), NAMES) == [
        b"1725100000000",
        b'{"timestamp":1725100000000,"open":88000,"high":88000.5,"low":0.25,"close":1,"volume":0,%s}' % NAMES.encode(),
        b"1725100300000",
        b'{"timestamp":1725100300000,"open":1,"high":1,"low":1,"close":1,"volume":2.5,%s,"sequenceNum":7}'
        % NAMES.encode(),
    ]
    assert write([], NAMES) == []


def test_the_native_one_is_in_use():
    one = Candle(0, 1e-7, 1e-7, 1e-7, 1e-7, 1e-7)
    assert pairs_of(BTC, [one]) == _native.write_members([one], NAMES) != write_members_pure([one], NAMES)


@given(candles())
def test_what_is_written_reads_back_as_what_was_given(one):
    for write in WRITERS:
        score, member = write([one], NAMES)
        fields = json.loads(member, parse_int=float)
        assert fields.pop("sequenceNum", None) == one.sequence_num
        assert fields == {
            "timestamp": one.timestamp,
            "open": one.open,
            "high": one.high,
            "low": one.low,
            "close": one.close,
            "volume": one.volume,
            "symbol": "BTC-USD",
            "timeframe": "5m",
        }
        assert check_members([member, score], "BTC-USD", "5m", STEP).timestamps.tolist() == [one.timestamp]
    assert member_of(BTC, one).encode() == write_members_pure([one], NAMES)[1]

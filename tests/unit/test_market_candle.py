"""Candles that cannot be are refused, each with its fault."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.candle import Candle

VALUES = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 2.0, math.inf, -math.inf, math.nan]))


@given(VALUES, VALUES, VALUES, VALUES, VALUES)
def test_exactly_the_possible_candles_are_made(o: float, h: float, low: float, c: float, v: float) -> None:
    possible = all(math.isfinite(x) and x > 0 for x in (o, h, low, c)) and low <= min(o, c) and max(o, c) <= h
    possible = possible and math.isfinite(v) and v >= 0
    if possible:
        assert Candle(0, o, h, low, c, v).volume == v
    else:
        with pytest.raises(ValueError, match="candle 0: "):
            Candle(0, o, h, low, c, v)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((math.nan, 2.0, 1.0, 1.5, 1.0), "open nan"),
        ((1.5, math.inf, 1.0, 1.5, 1.0), "high inf"),
        ((1.5, 2.0, -1.0, 1.5, 1.0), "low -1.0"),
        ((1.5, 2.0, 0.0, 1.5, 1.0), "low 0.0 is not a finite number > 0"),
        ((0.0, 0.0, 0.0, 0.0, 0.0), "open 0.0 is not a finite number > 0"),
        ((1.5, 2.0, 1.0, math.nan, 1.0), "close nan"),
        ((1.5, 2.0, 1.0, 1.5, -1.0), "volume -1.0"),
        ((1.5, 1.0, 2.0, 1.5, 1.0), "low 2.0 and high 1.0 do not bound"),
        ((3.0, 2.0, 1.0, 1.5, 1.0), "do not bound open 3.0"),
        ((1.5, 2.0, 1.0, 0.5, 1.0), "and close 0.5"),
    ],
)
def test_the_fault_is_named(values: tuple[float, float, float, float, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Candle(0, *values)

"""Splitting any bar: the children fold back to it, and are bars."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.simulator.prices.subdivision import MOST_CHILDREN, Lump, fold_lumps, split


@st.composite
def bars(draw: st.DrawFn) -> tuple[Lump, int]:
    """A bar and the least volume of its trades."""
    low = draw(st.integers(1, 10**9))
    high = low + draw(st.integers(0, 10**7))
    first, last = (draw(st.integers(low, high)) for _ in range(2))
    trades = draw(st.integers(1, 10**6) | st.integers(1, 20))
    least = draw(st.sampled_from([1, 10_000]))
    volume = least * trades + draw(st.integers(0, 10**14))
    return (first, high, low, last, volume, trades), least


@given(bars(), st.binary(min_size=1, max_size=20), st.integers(2, MOST_CHILDREN), st.booleans())
def test_children_are_bars_that_fold_back(case: tuple[Lump, int], key: bytes, count: int, dense: bool) -> None:
    bar, least = case
    children = split(bar, key, count, least, dense=dense)
    assert len(children) == count
    traded = [child for child in children if child is not None]
    assert fold_lumps(traded) == bar
    for first, high, low, last, volume, trades in traded:
        assert low <= min(first, last) <= max(first, last) <= high
        assert trades >= 1
        assert volume >= least * trades
    if dense and bar[5] >= count:
        assert None not in children
    assert split(bar, key, count, least, dense=dense) == children

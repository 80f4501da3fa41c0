"""Both implementations make the same objects of the columns on demand."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine import _native
from reconciler_engine.detection import columns

STARTS = st.lists(st.tuples(st.integers(-(2**62), 2**62), st.integers(1, 2**20)), max_size=20)


@given(STARTS, st.integers(1, 2**40))
def test_ends_and_tuples(gaps, step):
    starts = memoryview(array("q", [start for start, _ in gaps]))
    counts = memoryview(array("q", [count for _, count in gaps]))
    ends = columns.gap_ends(starts, counts, step)
    assert _native.gap_ends(starts, counts, step) == ends
    assert ends.tolist() == [start + (count - 1) * step for start, count in gaps]
    rows = columns.gap_tuples(starts, ends, counts)
    assert _native.gap_tuples(starts, ends, counts) == rows
    assert rows == list(zip(starts.tolist(), ends.tolist(), counts.tolist(), strict=True))


def test_columns_of_different_lengths():
    one, two = memoryview(array("q", [1])), memoryview(array("q", [1, 2]))
    for module in (_native, columns):
        with pytest.raises(ValueError, match=r"one length|argument 2 is longer"):
            module.gap_ends(one, two, 1)
        with pytest.raises(ValueError, match=r"one length|argument 3 is longer"):
            module.gap_tuples(one, one, two)

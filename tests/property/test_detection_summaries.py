"""Summaries of parts as algebra: however a series is cut, summed and sent about, the sum is that of the whole."""

from __future__ import annotations

import pickle
from collections import Counter
from functools import reduce
from itertools import groupby, pairwise
from operator import add, or_

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine import GapSummary

STEPS = st.sampled_from([1, 2, 7, 60_000])
COLUMNS = ["step", "count", "first", "last", "duplicates", "strangers", "gap_starts", "gap_counts"]


@st.composite
def series(draw, least=0):
    """A step, and instants about its grid in any order: with duplicates, strangers and gaps."""
    step = draw(STEPS)
    origin = draw(st.integers(-50, 50)) * step
    shift = st.sampled_from([0, 0, 0, 0, 1, step // 2])
    slots = st.tuples(st.integers(0, 60), shift).map(lambda it: origin + it[0] * step + it[1])
    return step, draw(st.lists(slots, min_size=least, max_size=60))


def facts(summary):
    """All that a summary says, as plain values."""
    gaps = summary.gaps.to_list()
    numbers = (summary.count, summary.first, summary.last, summary.duplicates, summary.strangers, summary.missing)
    return summary.step, *numbers, gaps


def told_by_the_definition(step, times):
    """The same, from the definition, a slot at a time."""
    if not times:
        return step, 0, None, None, 0, 0, 0, []
    rows = Counter(times)
    first, last = min(times), max(times)
    absent = [slot for slot in range(-(-first // step) * step, last + 1, step) if slot not in rows]
    runs = [[slot for _, slot in run] for _, run in groupby(enumerate(absent), lambda it: it[1] - it[0] * step)]
    duplicates = sum(count - 1 for instant, count in rows.items() if instant % step == 0)
    strangers = sum(count for instant, count in rows.items() if instant % step)
    gaps = [(run[0], run[-1], len(run)) for run in runs]
    return step, len(times), first, last, duplicates, strangers, len(absent), gaps


def cut(draw, times):
    """Neighbouring parts of a series, none of which ends in the instant at which the next begins."""
    runs = [list(run) for _, run in groupby(sorted(times))]
    borders = sorted(draw(st.sets(st.integers(0, len(runs)), max_size=6)) | {0, len(runs)})
    return [[instant for run in runs[first:stop] for instant in run] for first, stop in pairwise(borders)]


@given(series())
def test_a_summary_is_told_by_the_definition(drawn):
    step, times = drawn
    assert facts(GapSummary.of(times, step)) == told_by_the_definition(step, times)
    assert GapSummary.of(np.array(times, dtype=np.int64), step) == GapSummary.of(times, step)


@given(series(), st.data())
def test_parts_add_up_to_the_whole_in_any_order(drawn, data):
    step, times = drawn
    parts = [GapSummary.of(data.draw(st.permutations(part)), step) for part in cut(data.draw, times)]
    parts += [GapSummary.empty(step)] * data.draw(st.integers(0 if parts else 1, 2))
    whole = GapSummary.of(times, step)
    assert reduce(add, parts) == GapSummary.join(data.draw(st.permutations(parts))) == whole
    # Grouped in any way: two neighbours become one until one is left.
    while len(parts) > 1:
        at = data.draw(st.integers(0, len(parts) - 2))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    assert parts == [whole]


@given(series())
def test_an_empty_part_changes_nothing(drawn):
    step, times = drawn
    part, nothing = GapSummary.of(times, step), GapSummary.empty(step)
    assert nothing + part == part + nothing == part | nothing == nothing | part == part
    assert facts(nothing) == facts(GapSummary.of([], step))


@given(series(), st.data())
def test_parts_that_overlap_are_joined_by_union(drawn, data):
    step, times = drawn
    homes = [data.draw(st.integers(0, 2)) for _ in times]
    parts = [GapSummary.of([t for t, home in zip(times, homes, strict=True) if home == one], step) for one in range(3)]
    whole = GapSummary.of(times, step)
    assert parts[0] | parts[1] | parts[2] == whole
    assert reduce(or_, data.draw(st.permutations(parts))) == whole
    assert parts[0] | (parts[1] | parts[2]) == whole


@given(series(least=1), st.data())
def test_an_overlap_is_an_error_of_the_sum(drawn, data):
    step, times = drawn
    one, other = GapSummary.of(times, step), GapSummary.of([data.draw(st.sampled_from(times))], step)
    with pytest.raises(ValueError, match=r"parts overlap: one ends at -?\d+, another begins at -?\d+"):
        _ = one + other


def test_parts_of_two_steps_are_an_error():
    one, other = GapSummary.of([0], 60_000), GapSummary.empty(300_000)
    for join in (add, or_):
        with pytest.raises(ValueError, match=r"parts have steps \[60000, 300000\]; allowed: parts of one step"):
            join(one, other)
    with pytest.raises(ValueError, match="at least one part"):
        GapSummary.join([])
    for join in (add, or_):
        with pytest.raises(TypeError, match="unsupported operand"):
            join(one, 0)


@pytest.mark.parametrize("step", [0, -60_000])
def test_a_step_below_one_is_an_error(step):
    with pytest.raises(ValueError, match=f"step is {step}; it must be at least 1"):
        GapSummary.of([0], step)


@pytest.mark.parametrize("step", [1, 60_000])
@pytest.mark.parametrize("edge", [2**62 - 1, -(2**62 - 1), 2**62, -(2**62), 2**63 - 1, -(2**63)])
def test_instants_are_told_up_to_their_bound_and_refused_beyond(step, edge):
    inside = abs(edge) < 2**62
    if not inside:
        with pytest.raises(ValueError, match=f"times hold {edge}; allowed: less than 2\\*\\*62 from 0"):
            GapSummary.of([edge], step)
        return
    slot = edge // step * step if edge > 0 else -(-edge // step * step)
    summary = GapSummary.of([slot, 0], step)
    assert (summary.count, summary.missing, summary.duplicates) == (2, abs(slot) // step - 1, 0)
    assert facts(GapSummary.of([slot], step)) == (step, 1, slot, slot, 0, 0, 0, [])


def test_the_longest_gap_is_the_oldest_of_several():
    assert GapSummary.of([0, 3, 4, 7], 1).longest == (1, 2, 2)
    assert GapSummary.of([0, 1], 1).longest is None


@given(series())
def test_summaries_pickle_and_go_through_arrow(drawn):
    step, times = drawn
    one, other = GapSummary.of(times, step), GapSummary.empty(step)
    assert pickle.loads(pickle.dumps(one)) == one
    table = pa.concat_tables([pa.table(one), pa.table(other)])
    assert table.column_names == COLUMNS
    assert GapSummary.from_arrow(table) == [one, other]
    frame = pl.concat([pl.DataFrame(one), pl.DataFrame(other)])
    assert GapSummary.from_arrow(frame) == [one, other]
    assert table["duplicates"].to_pylist() == [one.duplicates, 0]


def test_rows_that_are_no_summaries_are_refused():
    table = pa.table(GapSummary.of([0, 2], 1))
    with pytest.raises(ValueError, match="columns step, gap_counts are not there; allowed: summaries"):
        GapSummary.from_arrow(table.drop_columns(["step", "gap_counts"]))
    for name, value in (("step", 0), ("count", 3), ("first", None), ("last", -1), ("strangers", -1), ("duplicates", 1)):
        spoilt = table.set_column(COLUMNS.index(name), name, pa.array([value], pa.int64()))
        with pytest.raises(ValueError, match=r"row 0: .* with 1 gap_starts and 1 gap_counts is not a summary"):
            GapSummary.from_arrow(spoilt)

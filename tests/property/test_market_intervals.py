"""The algebra of intervals, against sets of slots."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.rounding import ceil_div, ceil_to

STEP = 60_000
SLOTS = 30

instants = st.integers(0, SLOTS).map(lambda slot: slot * STEP)
single = st.tuples(instants, instants).map(lambda ends: Interval(min(ends), max(ends)))
several = st.sets(st.integers(0, SLOTS - 1)).map(
    lambda found: Intervals.of_slots(sorted(slot * STEP for slot in found), STEP)
)


def members(slots: Interval | Intervals) -> set[int]:
    return set(slots.grid(STEP) if isinstance(slots, Interval) else slots.slots(STEP))


def check_normal(slots: Intervals) -> None:
    assert all(slots)
    assert all(one.stop < other.start for one, other in pairwise(slots))


@given(ones=several, others=several | single)
def test_operators_are_those_of_sets(ones, others):
    for found, expected in (
        (ones & others, members(ones) & members(others)),
        (others & ones, members(ones) & members(others)),
        (ones | others, members(ones) | members(others)),
        (others | ones, members(ones) | members(others)),
        (ones - others, members(ones) - members(others)),
        (others - ones, members(others) - members(ones)),
    ):
        check_normal(found)
        assert members(found) == expected
        assert found.size(STEP) == len(expected)


@given(one=single, other=single)
def test_single_intervals_have_the_same_operators(one, other):
    assert members(one & other) == members(one) & members(other)
    assert members(one | other) == members(one) | members(other)
    assert members(one - other) == members(one) - members(other)
    assert bool(one & other) == bool(members(one) & members(other))
    if one and other:
        assert one.touches(other) == (len(one | other) == 1)


@given(parts=st.lists(single))
def test_any_intervals_make_one_set_in_order(parts):
    slots = Intervals(parts)
    check_normal(slots)
    assert members(slots) == {at for one in parts for at in one.grid(STEP)}
    assert Intervals.joined(sorted((one.start, one.stop) for one in parts)) == slots


@given(slots=several)
def test_slots_and_gaps_come_back_as_they_were(slots):
    assert Intervals.of_gaps(slots.gaps(STEP), STEP) == slots
    assert Intervals.of_slots(list(slots.slots(STEP)), STEP) == slots
    assert sum(gap.count for gap in slots.gaps(STEP)) == slots.size(STEP)
    assert {at for at in range(0, SLOTS * STEP, STEP) if slots.holds(at)} == members(slots)
    if slots:
        assert (slots.hull.start, slots.hull.stop) == (min(members(slots)), max(members(slots)) + STEP)


@given(one=single, length=st.integers(STEP // 50, SLOTS * STEP))
def test_parts_are_the_whole(one, length):
    parts = one.parts(length)
    assert Intervals(parts) == (Intervals((one,)) if one else NOTHING)
    assert all(0 < part.stop - part.start <= length for part in parts)


@given(start=st.integers(0, 5 * STEP), length=st.integers(0, 5 * STEP))
def test_slots_of_an_interval_are_whole(start, length):
    asked = Interval(start, start + length)
    assert list(asked.slots(STEP).grid(STEP)) == list(asked.grid(STEP))
    assert (asked.slots(STEP).stop - asked.slots(STEP).start) % STEP == 0


@given(number=st.integers(), divisor=st.integers(1))
def test_rounding_up_is_exact(number, divisor):
    assert ceil_to(number, divisor) == ceil_div(number, divisor) * divisor
    assert 0 <= ceil_to(number, divisor) - number < divisor

"""What passes of different reach say together of one series."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.store.coverage import Known, extend, newest_complete

STEP = 60_000


def at(slot):
    return slot * STEP


def window(start, stop):
    return Interval(at(start), at(stop))


def gap(first, last):
    return Interval(at(first), at(last + 1))


def test_a_narrow_pass_extends_what_a_wide_one_saw():
    wide = extend(None, window(0, 100), Intervals([gap(10, 12)]))
    known = extend(wide, window(75, 105), Intervals([gap(101, 101)]))
    assert known == Known(window(0, 105), Intervals([gap(10, 12), gap(101, 101)]), 100 * STEP)


def test_what_the_narrow_pass_saw_counts_in_its_own_window():
    wide = extend(None, window(0, 100), Intervals([gap(70, 80), gap(90, 91)]))
    assert extend(wide, window(75, 105), NOTHING).unresolved == (gap(70, 74),)


def test_the_next_wide_pass_replaces_it():
    known = extend(extend(None, window(0, 100), Intervals([gap(1, 1)])), window(75, 105), NOTHING)
    assert extend(known, window(10, 110), NOTHING) == Known(window(10, 110), NOTHING, 100 * STEP)


def test_slots_that_nobody_looked_at_break_the_chain():
    wide = extend(None, window(0, 100), NOTHING)
    assert extend(wide, window(101, 131), NOTHING).window == window(101, 131)


def test_it_reaches_back_two_wide_windows_at_most():
    known = extend(None, window(0, 100), Intervals([gap(0, 5)]))
    for stop in range(110, 400, 10):
        known = extend(known, window(stop - 30, stop), NOTHING)
    assert known.window == window(190, 390)
    assert known.unresolved == ()


@pytest.mark.parametrize(
    ("unresolved", "run"),
    [
        ((), (0, 9)),
        ((gap(3, 4),), (5, 9)),
        ((gap(3, 4), gap(8, 9)), (5, 7)),
        ((gap(0, 2),), (3, 9)),
        ((gap(0, 8),), (9, 9)),
        ((gap(0, 9),), None),
    ],
)
def test_the_newest_complete_that_is_whole(unresolved, run):
    found = newest_complete(Known(window(0, 10), Intervals(unresolved), 10 * STEP))
    assert found == (None if run is None else gap(*run))

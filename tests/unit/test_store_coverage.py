"""Coverage of one series by passes of different reach together."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.planning.known_slots import Known, extend
from reconciler_engine.store.coverage import Checked, Coverage, coverage_of
from reconciler_engine.store.scope import Scope

STEP = 60_000
SERIES = Series("BTC-USD", Timeframe.M1)


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
    assert extend(known, window(10, 110), NOTHING) == Known(window(10, 110), NOTHING, 100 * STEP, whole_from=at(2))


def test_slots_that_nobody_looked_at_break_the_chain():
    wide = extend(None, window(0, 100), NOTHING)
    assert extend(wide, window(101, 131), NOTHING).window == window(101, 131)


@pytest.mark.parametrize(
    ("filled", "left"),
    [(window(70, 100), (gap(10, 10),)), (window(0, 100), ()), (window(96, 100), (gap(10, 10), gap(95, 95)))],
)
async def test_slots_that_another_pass_fills_meanwhile_are_not_missing_after_this_one(redis, filled, left):
    coverage = Coverage(redis, Scope(1, 1, ""))

    async def record(span, *missing, since=None):
        slots = Intervals(missing)
        one = Checked(SERIES, span, slots, {Obstacle.SECOND_SIGHTING: slots}, unverified=NOTHING)
        await coverage.record([one], at(100), since=since)
        return (await coverage.read())[str(SERIES)]

    assert (await record(window(0, 90))).missing == 0
    began = coverage.records
    assert (await record(filled)).missing == 0
    told = await record(window(0, 100), gap(10, 10), gap(95, 95), since=began)
    assert (told.missing, coverage._known[SERIES].unresolved) == (len(left), left)
    assert told.obstacles == ({Obstacle.SECOND_SIGHTING: len(left)} if left else {})
    # One that begins after that other pass says what it found.
    assert (await record(window(0, 100), gap(95, 95), since=coverage.records)).missing == 1


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
    found = Known(window(0, 10), Intervals(unresolved), 10 * STEP).whole
    assert (found[-1] if found else None) == (None if run is None else gap(*run))


def test_windows_that_move_on_keep_how_far_back_the_series_is_whole():
    known = extend(None, window(0, 100), NOTHING)._replace(whole_from=at(-900))
    for stop in range(110, 400, 10):
        known = extend(known, window(stop - 30, stop), NOTHING)
    assert known.whole == (Interval(at(-900), at(390)),)
    assert extend(known, window(300, 400), NOTHING).whole_from == at(-900)


def test_a_hole_ends_how_far_back_the_series_is_whole_until_it_is_filled():
    known = extend(None, window(0, 100), NOTHING)._replace(whole_from=at(-900))
    lacking = extend(known, window(80, 110), Intervals([gap(90, 95)]))
    assert lacking.whole[-1] == window(96, 110)
    assert extend(lacking, window(85, 115), NOTHING).whole == (Interval(at(-900), at(115)),)
    # and where it has left the window without being filled
    assert extend(lacking, window(92, 192), Intervals([gap(92, 95)])).whole == (window(96, 192),)


def test_a_suspect_candle_is_not_whole():
    doubt = {Obstacle.VALUES_DIFFER: Intervals([gap(50, 51)])}
    told = coverage_of(extend(None, window(0, 100), NOTHING, doubt), STEP, at(100), STEP)
    assert (told.complete_from, told.complete_through) == (at(52), at(99))


def verified_of(known):
    told = coverage_of(known, STEP, at(110), 30 * STEP)
    return told.present, told.verified, told.unverified, told.unverified_since, told.obstacles


def test_a_pass_that_looks_at_no_digest_leaves_what_is_unverified():
    slots = Intervals([gap(60, 60), gap(90, 94)])
    wide = extend(None, window(0, 100), NOTHING, confirmed=Intervals([gap(5, 9)]), unverified=slots)
    known = extend(wide, window(75, 105), Intervals([gap(92, 92)]))
    # slots that closed since then are not verified
    assert known.unverified == slots | Intervals([gap(100, 104)])
    assert verified_of(known) == (99, 89, 10, at(61), {"unverified": 1})


def test_a_pass_that_began_before_the_one_known_leaves_what_is_unverified():
    """A long one ends after others that saw later bars."""
    known = extend(None, window(0, 105), NOTHING, unverified=Intervals([gap(90, 104)]))
    late = extend(known, window(0, 100), NOTHING)
    assert (late.window, late.unverified) == (window(0, 100), (gap(90, 99),))


def test_a_look_at_digests_counts_in_its_own_window():
    wide = extend(None, window(0, 100), NOTHING, unverified=Intervals([gap(60, 60), gap(90, 94)]))
    known = extend(wide, window(75, 105), NOTHING, unverified=Intervals([gap(104, 104)]))
    assert known.unverified == Intervals([gap(60, 60), gap(104, 104)])


def test_a_wide_look_at_digests_alone_leaves_the_suspects():
    doubt = {Obstacle.VALUES_DIFFER: Intervals([gap(50, 51)])}
    wide = extend(None, window(0, 100), NOTHING, doubt, unverified=Intervals([gap(50, 53)]))
    known = extend(wide, window(5, 105), NOTHING, None, unverified=Intervals([gap(50, 51)]))
    assert known.obstacles == doubt
    assert known.base_ms == 100 * STEP
    # a suspect candle is not counted as unverified, too
    assert verified_of(known) == (100, 98, 0, None, {"values differ": 2})


def test_nothing_is_said_of_verification_where_no_pass_looked():
    known = extend(extend(None, window(0, 100), NOTHING), window(75, 105), NOTHING)
    assert verified_of(known) == (None, None, None, None, {})
    assert "verified" not in coverage_of(known, STEP, at(110), 0).as_field()


async def test_slots_that_another_pass_proves_empty_meanwhile_are_empty_after_this_one(redis):
    coverage, empty = Coverage(redis, Scope(1, 1, "")), Intervals([gap(95, 95)])
    await coverage.record([Checked(SERIES, window(70, 100), NOTHING, confirmed=empty)], at(100))
    await coverage.record([Checked(SERIES, window(0, 100), empty, unverified=NOTHING)], at(100), since=0)
    told = (await coverage.read())[str(SERIES)]
    assert (told.missing, told.present, told.verified) == (0, 99, 99)

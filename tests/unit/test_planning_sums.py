"""Coarser bars beside the sums of finer ones: which timeframe is asked, what counts as equal, which pages are audited.

Of the real 5m bars beside their 1m bars those that differ are named.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Finding, Reason, State
from reconciler_engine.planning.sums import (
    ONE_PAGE_IN,
    covered,
    is_audited,
    is_settled_empty,
    is_sum,
    nearest_finer,
    sums_of,
)

M1, M5 = Timeframe.M1.step_ms, Timeframe.M5.step_ms
T0 = 1_767_225_600_000


@pytest.mark.parametrize(
    ("timeframe", "kept", "finer"),
    [
        ("5m", "1m 5m 15m 1h 4h 1d", "1m"),
        ("15m", "1m 5m 15m 1h 4h 1d", "5m"),
        ("1h", "1m 5m 15m 30m 1h", "30m"),
        ("1h", "1m 1h 1d", "1m"),
        ("6h", "1h 2h 4h 6h", "2h"),
        ("6h", "1h 4h 6h", "1h"),
        ("6h", "4h 6h", None),
        ("1d", "1h 4h 6h 1d", "6h"),
        ("1d", "1h 4h 1d", "4h"),
        ("4h", "1h 2h 6h 4h", "2h"),
        ("1m", "1m 5m", None),
        ("1d", "1d", None),
    ],
)
def test_the_nearest_finer_kept_timeframe_that_divides_is_asked(timeframe, kept, finer):
    found = nearest_finer(Timeframe(timeframe), [Timeframe(one) for one in kept.split()])
    assert found == (None if finer is None else Timeframe(finer))


def bars(*each: tuple[float, ...] | None) -> dict[int, tuple[float, ...]]:
    return {T0 + number * M1: one for number, one in enumerate(each) if one is not None}


def slots(*numbers: int, step: int = M1) -> Intervals:
    return Intervals.of_slots([T0 + number * step for number in numbers], step)


RISING = bars(*((10.0 + n, 12.0 + n, 9.0 + n, 11.0 + n, 0.1) for n in range(5)))


def test_a_sum_has_first_open_greatest_high_least_low_last_close_and_all_volume():
    (found,) = sums_of(slots(0, step=M5), RISING, NOTHING, M5, M1).values()
    assert found == (10.0, 16.0, 9.0, 15.0, 0.5)
    assert is_sum((10.0, 16.0, 9.0, 15.0, 0.5), found)


@pytest.mark.parametrize(
    "other",
    [
        (10.01, 16.0, 9.0, 15.0, 0.5),
        (10.0, 16.01, 9.0, 15.0, 0.5),
        (10.0, 16.0, 8.99, 15.0, 0.5),
        (10.0, 16.0, 9.0, 15.01, 0.5),
        (10.0, 16.0, 9.0, 15.0, 0.50000001),
        (10.0, 16.0, 9.0, 15.0, 0.49999999),
    ],
)
def test_a_bar_that_differs_in_one_printed_digit_is_not_its_sum(other):
    assert not is_sum(other, (10.0, 16.0, 9.0, 15.0, 0.5))


def test_volumes_equal_as_decimals_or_as_a_feeder_adds_them_are_equal():
    assert 0.1 + 0.2 != 0.3
    parts = bars(*((1.0, 1.0, 1.0, 1.0, volume) for volume in (0.1, 0.2, 71.71214432, 0.00000001, 1e6)))
    (found,) = sums_of(slots(0, step=M5), parts, NOTHING, M5, M1).values()
    assert is_sum((1.0, 1.0, 1.0, 1.0, 1000072.01214433), found)
    assert is_sum((1.0, 1.0, 1.0, 1.0, 1000072.01214433 * (1 + 5e-14)), found)


def test_a_slot_without_a_bar_counts_only_where_it_is_known_to_have_none():
    there = {at: one for at, one in RISING.items() if at != T0 + 2 * M1}
    assert sums_of(slots(0, step=M5), there, NOTHING, M5, M1) == {}
    assert sums_of(slots(0, step=M5), there, slots(2), M5, M1)[T0][-1] == pytest.approx(0.4)
    assert sums_of(slots(0, step=M5), {}, slots(*range(5)), M5, M1) == {}


def test_a_filler_is_left_out_of_its_sum():
    flat = {**RISING, T0: (99.0, 99.0, 99.0, 99.0, 0.0)}
    assert sums_of(slots(0, step=M5), flat, NOTHING, M5, M1) == {T0: (11.0, 16.0, 10.0, 15.0, 0.4)}


@pytest.mark.parametrize(
    ("state", "reason", "next_check", "settled"),
    [
        (State.EMPTY, Reason.WITH_REFERENCE, None, True),
        (State.HALTED, Reason.HALTED_TWICE, None, True),
        (State.UNLISTED, Reason.NOT_YET_LISTED, None, True),
        # its 6 h recheck is still to come
        (State.EMPTY, Reason.WITH_REFERENCE, T0, False),
        # proofs that prove nothing any more, and words of people
        (State.EMPTY, Reason.BEFORE_FAILOVER, None, False),
        (State.EMPTY, Reason.BY_HAND, None, False),
        (State.MISSING, Reason.ABSENT_ONCE, None, False),
        (State.SUSPECT, Reason.VALUES_DIFFER, None, False),
    ],
)
def test_which_slots_are_settled_empty(state, reason, next_check, settled):
    assert is_settled_empty(Finding(state, reason, T0, T0, 1, next_check)) is settled


def test_a_slot_is_covered_by_finer_slots_that_leave_none_of_it_out():
    assert covered(slots(0, 1, 2, step=M5), slots(*range(4), *range(5, 15)), M5) == slots(1, 2, step=M5)
    assert covered(slots(0, step=M5), NOTHING, M5) == NOTHING


def test_one_page_in_fifty_is_audited_and_always_the_same_ones():
    series = [Series(f"P{number}-USD", timeframe) for number in range(20) for timeframe in (Timeframe.M5, Timeframe.H1)]
    pages = [(one, slots(number, step=one.timeframe.step_ms)) for one in series for number in range(500)]
    audited = [is_audited(*page) for page in pages]
    assert sum(audited) / len(pages) == pytest.approx(1 / ONE_PAGE_IN, rel=0.1)
    assert audited == [is_audited(*page) for page in pages]
    # of each series some, not all of a few
    assert {one for (one, _), is_one in zip(pages, audited, strict=True) if is_one} == {*series}


DIFFERING = {
    # in volume alone
    *(1764021900, 1764022800, 1764029700, 1764035400, 1764081900, 1764082500, 1764372000, 1764637800, 1764775200),
    *(1765006200, 1765514100, 1765721400, 1766205900, 1766207400, 1766212200),
}
DIFFERING_IN_PRICE = {1764876000, 1765243800, 1765907700, 1766168100}


def read_bars(path: Path) -> dict[int, tuple[float, ...]]:
    with gzip.open(path, "rt", newline="") as file:
        return {int(at): tuple(map(float, values)) for at, *values in [*csv.reader(file)][1:]}


def differing(coarse: Mapping[int, tuple[float, ...]], fine: Mapping[int, tuple[float, ...]]) -> tuple[int, set[int]]:
    """Return how many coarse bars follow from finer ones, and the open times of those that are not equal (s)."""
    wanted = Intervals.of_slots(sorted(coarse), M5)
    expected = sums_of(wanted, fine, NOTHING, M5, M1)
    return len(expected), {at // 1_000 for at, values in expected.items() if not is_sum(coarse[at], values)}


def test_of_8226_real_bars_beside_their_minutes_these_nineteen_differ(market_data):
    coarse = read_bars(market_data.parent / "proof" / "BTC-USD_5m_20251123-20251222.csv.gz")
    fine = read_bars(market_data / "BTC-USD_1m_20251123-20260131.csv.gz")
    count, found = differing(coarse, fine)
    assert count == 8_226
    assert len(found) == 19
    assert found == DIFFERING | DIFFERING_IN_PRICE
    expected = sums_of(Intervals.of_slots(sorted(at * 1_000 for at in found), M5), fine, NOTHING, M5, M1)
    in_price = {at // 1_000 for at, values in expected.items() if values[:4] != coarse[at][:4]}
    assert in_price == DIFFERING_IN_PRICE


def test_of_made_bars_beside_their_minutes_those_that_were_changed_differ():
    """The twin of the real files."""
    span = Interval(T0, T0 + 600 * M1)
    fine = {
        at: (100.0 + n % 7, 110.0 + n % 11, 90.0 - n % 5, 101.0 + n % 3, round(0.01 + n * 0.00000137, 8))
        for n, at in enumerate(span.grid(M1))
    }
    coarse: dict[int, tuple[float, ...]] = {}
    for at in span.grid(M5):
        parts = [fine[one] for one in range(at, at + M5, M1)]
        volume = round(sum(round(one[4] * 1e8) for one in parts) / 1e8, 8)
        coarse[at] = (parts[0][0], max(p[1] for p in parts), min(p[2] for p in parts), parts[-1][3], volume)
    assert differing(coarse, fine) == (120, set())
    for field in range(5):
        at = T0 + (7 + 20 * field) * M5
        values = [*coarse[at]]
        values[field] = round(values[field] + 0.00000001, 8)
        coarse[at] = (*values,)
    assert differing(coarse, fine) == (120, {(T0 + (7 + 20 * field) * M5) // 1_000 for field in range(5)})

"""Each rule of `inspect` finds its planted fault where it is, and nothing in bars that move as real ones do."""

from __future__ import annotations

import math
from random import Random

import pytest

from reconciler_engine.inspection.bar_scan import BarScan
from reconciler_engine.inspection.flaws import Rule, Severity

MINUTE = 60_000
OF_THE_CACHE = {Rule.NOT_A_CANDLE, Rule.SHARED_SLOT, Rule.SUSPECT, Rule.CONTESTED, Rule.MISSING, Rule.NOT_READY}
OF_LINES = {Rule.UNREADABLE}


def walk(count=1_000, seed=1, price=100.0):
    """Rows of a market that moves: time, open, high, low, close, volume."""
    random = Random(seed)
    rows = []
    for slot in range(count):
        last = round(price * math.exp(random.gauss(0, 0.001)), 2)
        high, low = (
            round(edge + random.random() * sign, 2) for edge, sign in ((max(price, last), 1), (min(price, last), -1))
        )
        rows.append([slot * MINUTE, price, high, low, last, round(random.expovariate(0.5) + 1e-8, 8)])
        price = last
    return rows


def scan(rows, size=None):
    """Scan these rows in blocks of a size; return the findings: rule, place and numbers."""
    bars = BarScan(MINUTE)
    for first in range(0, len(rows), size or len(rows)):
        times, *values = zip(*rows[first : first + (size or len(rows))], strict=True)
        bars.add(times, values)
    bars.finish()
    return [(flaw.rule, place) for flaw in bars.flaws.ranked() for place in flaw.told]


def found(rows, size=None):
    return [(rule, place.first // MINUTE, place.rows) for rule, place in scan(rows, size)]


def scaled(rows, first, stop, columns, factor):
    for row in rows[first:stop]:
        for column in columns:
            row[column] *= factor
    return rows


def test_a_market_that_moves_has_no_flaw():
    assert found(walk(20_000)) == []


VALUES = {
    Rule.NOT_A_NUMBER: [(1, math.nan), (5, math.inf), (2, -math.inf), (5, math.nan)],
    Rule.PRICE_NOT_ABOVE_ZERO: [(1, 0.0), (3, -1.0), (4, 0.0)],
    Rule.VOLUME_BELOW_ZERO: [(5, -1e-9)],
    Rule.HIGH_BELOW_LOW: [(2, 1.0), (3, 1e6)],
    Rule.OUT_OF_BOUNDS: [(1, 1e4), (4, 1e-4)],
}


@pytest.mark.parametrize(("rule", "column", "value"), [(rule, *one) for rule, all_ in VALUES.items() for one in all_])
def test_values_that_cannot_be_are_found(rule, column, value):
    rows = walk()
    rows[500][column] = value
    assert found(rows) == [(rule, 500, 1)]
    assert rule.severity is Severity.ERROR


def test_a_row_off_the_grid_is_found():
    rows = walk()
    rows[500][0] += 1
    assert found(rows) == [(Rule.OFF_GRID, 500, 1)]
    rows[500][5] = -10.0
    assert found(rows) == [(Rule.OFF_GRID, 500, 1), (Rule.VOLUME_BELOW_ZERO, 500, 1)]


@pytest.mark.parametrize("size", [None, 501, 500])
def test_a_row_that_comes_twice_is_found_at_any_border_of_blocks(size):
    rows = walk()
    assert found([*rows[:501], rows[500], *rows[501:]], size) == [(Rule.REPEATED_ROW, 500, 1)]
    other = [*rows[500][:5], 7.0]
    ((rule, place),) = scan([*rows[:501], other, *rows[501:]], size)
    assert (rule, place.first // MINUTE) == (Rule.TWO_VALUES, 500)
    assert place.numbers.endswith(f"7, not {' '.join(f'{value:.12g}' for value in rows[500][1:])}")


def test_rows_in_any_order_are_looked_at_in_their_own():
    rows = walk()
    Random(1).shuffle(rows)
    assert found(rows) == []
    assert found([*rows, rows[7]]) == [(Rule.REPEATED_ROW, rows[7][0] // MINUTE, 1)]


@pytest.mark.parametrize("factor", [10, 1_000, 0.1, 0.001, 1e8])
@pytest.mark.parametrize("size", [None, 37])
def test_prices_in_another_unit_are_found_where_they_begin(factor, size):
    ((rule, place),) = scan(scaled(walk(), 437, None, (1, 2, 3, 4), factor), size)
    assert (rule, place.first // MINUTE) == (Rule.PRICE_UNIT, 437)
    assert place.numbers.startswith(f"x{factor:g}: ")


def test_prices_in_another_unit_near_the_end_are_found():
    assert found(scaled(walk(), 994, None, (1, 2, 3, 4), 10)) == [(Rule.PRICE_UNIT, 994, 1)]


@pytest.mark.parametrize("factor", [10, 1_000])
def test_a_spike_is_no_change_of_unit(factor):
    assert found(scaled(walk(), 437, 438, (1, 2, 3, 4), factor)) == []
    assert found(scaled(walk(), 437, None, (1, 2, 3, 4), 2.5)) == []


@pytest.mark.parametrize("factor", [10, 1_000, 0.1, 0.001, 1e8])
@pytest.mark.parametrize("size", [None, 37])
def test_volumes_in_another_unit_are_found_where_they_begin(factor, size):
    ((rule, place),) = scan(scaled(walk(), 437, None, (5,), factor), size)
    assert (rule, place.first // MINUTE) == (Rule.VOLUME_UNIT, 437)
    assert place.numbers.startswith(f"x{factor:g}: ")


def test_whole_volumes_in_another_unit_are_found():
    rows = walk()
    for row in rows:
        row[5] = float(math.ceil(row[5] * 3))
    assert found(rows) == []
    assert [rule for rule, *_ in found(scaled(rows, 437, None, (5,), 10))] == [Rule.VOLUME_UNIT]


def test_a_market_that_becomes_ten_times_as_busy_has_its_unit_still():
    rows = walk()
    for row in rows[437:]:
        row[5] = round(row[5] * 13.7, 8)
    assert found(rows) == []


@pytest.mark.parametrize("distance", [1, 300, 4_900])
def test_values_of_earlier_rows_in_their_order_are_found(distance):
    rows = walk(6_000)
    for slot in range(5_000, 5_003):
        rows[slot][1:] = rows[slot - distance][1:]
    ((rule, place),) = scan(rows)
    assert (rule, place.first // MINUTE, place.rows) == (Rule.REPEATED_VALUES, 5_000, 3)
    assert place.numbers == ("as the row before" if distance == 1 else f"as {distance} rows before")


def test_one_row_with_the_values_of_an_earlier_one_counts_if_its_volume_tells():
    rows = walk()
    rows[500][1:] = rows[100][1:]
    assert found(rows) == [(Rule.REPEATED_VALUES, 500, 1)]
    rows[100][5] = rows[500][5] = 12.0
    assert found(rows) == []


def test_flat_rows_within_a_page_that_is_there_twice_do_not_hide_it():
    rows = walk()
    for slot in (104, 380):
        rows[slot][1:] = [99.0, 99.0, 99.0, 99.0, 1.0]
    for slot in range(400, 410):
        rows[slot][1:] = rows[slot - 300][1:]
    ((rule, place),) = scan(rows)
    assert (rule, place.first // MINUTE, place.rows) == (Rule.REPEATED_VALUES, 400, 9)


def test_two_equal_rows_of_a_thin_market_are_chance():
    rows = walk()
    for slot in (500, 700):
        rows[slot][1:] = [*rows[slot][1:5], 3.0]
        rows[slot - 50][1:] = rows[slot][1:]
    for row in rows[800:830]:
        row[1:] = [100.0 + row[0] / MINUTE % 2, *[100.0 + row[0] / MINUTE % 2] * 3, 1.0]
    assert found(rows) == []


def test_flat_rows_are_found_from_twenty_in_a_row_on():
    rows = walk()
    for number, row in enumerate(rows[100:119] + rows[200:220]):
        row[1:5] = [99.5] * 4
        row[5] = number + 1.0
    ((rule, place),) = scan(rows)
    assert (rule, place.first // MINUTE, place.last // MINUTE, place.rows, place.numbers) == (
        Rule.FLAT,
        200,
        219,
        20,
        "99.5",
    )


def test_each_run_without_volume_is_found_and_is_not_flat_too():
    rows = walk()
    for row in [rows[100], *rows[200:230]]:
        row[1:] = [99.5, 99.5, 99.5, 99.5, 0.0]
    assert found(rows) == [(Rule.ZERO_VOLUME, 100, 1), (Rule.ZERO_VOLUME, 200, 30)]
    assert Rule.ZERO_VOLUME.severity is Severity.NOTE


def test_a_rule_tells_its_first_places_and_counts_the_others():
    rows = walk()
    for row in rows[::2]:
        row[5] = -1.0
    bars = BarScan(MINUTE)
    times, *values = zip(*rows, strict=True)
    bars.add(times, values)
    (flaw,) = bars.flaws.ranked()
    assert (flaw.rows, flaw.places, len(flaw.told)) == (500, 500, 20)


def test_blocks_that_go_back_in_time_are_looked_at_each_for_itself():
    rows = walk()
    assert found([*rows[500:], *rows[:500]], 500) == []


def test_every_rule_is_tried_here_or_where_lines_and_members_are():
    tried = {*VALUES, Rule.OFF_GRID, Rule.REPEATED_ROW, Rule.TWO_VALUES, Rule.PRICE_UNIT, Rule.VOLUME_UNIT}
    tried |= {Rule.REPEATED_VALUES, Rule.FLAT, Rule.ZERO_VOLUME}
    assert tried | OF_THE_CACHE | OF_LINES == {*Rule}

"""The rules of `inspect` over real files: next to no false alarm, and each planted fault is found where it is."""

from __future__ import annotations

import gzip
import math
from functools import cache
from pathlib import Path
from random import Random

import pytest
from tests.integration.test_cli_gaps import REAL

from reconciler_engine.archive.found_files import find_sources
from reconciler_engine.archive.hints import NO_HINTS
from reconciler_engine.archive.naming import parse_file_name
from reconciler_engine.inspection.bar_scan import BarScan
from reconciler_engine.inspection.file_inspection import InspectedFile, inspect_files
from reconciler_engine.inspection.flaws import Rule

SANDBOX = "BTC-USD.SANDBOX_1m_20210831-20210911"
ZEROFILLED = "ETH-USD_1h_20170701-20181003_zerofilled"
KNOWN = {
    # Said by the README beside the files: a test market that is not a real one, and a copy filled by an aggregator.
    SANDBOX: {Rule.REPEATED_ROW: 12, Rule.VOLUME_UNIT: 21, Rule.REPEATED_VALUES: 878},
    # Five hours of 2017-11-12 have the values of the five before; the README does not tell of them.
    ZEROFILLED: {Rule.ZERO_VOLUME: 9, Rule.REPEATED_VALUES: 5},
}
VALUES_PLANTED = {
    Rule.NOT_A_NUMBER: {4: math.nan},
    Rule.PRICE_NOT_ABOVE_ZERO: {3: 0.0},
    Rule.VOLUME_BELOW_ZERO: {5: -1.0},
    Rule.HIGH_BELOW_LOW: {2: 1e-9},
    Rule.OUT_OF_BOUNDS: {4: 1e12},
}


def real_files(market_data: Path) -> list[Path]:
    return [*(market_data / f"{name}.csv.gz" for name in REAL), *market_data.parent.glob("proof/*.csv.gz")]


def inspect(*paths: Path) -> list[InspectedFile]:
    inspected = []
    for found, faults in inspect_files(find_sources(paths, NO_HINTS), NO_HINTS, lambda _: None):
        assert faults == []
        inspected += found
    return inspected


@pytest.mark.slow
def test_files_free_of_faults_raise_next_to_no_alarm(market_data, tell_figure):
    alarms = bars = 0
    for one in inspect(*real_files(market_data)):
        found = {flaw.rule: flaw.rows for flaw in one.flaws}
        name = one.source.name.removesuffix(".csv.gz")
        if name in KNOWN:
            assert found == KNOWN[name]
        else:
            bars += one.summary.count
            alarms += sum(flaw.places for flaw in one.flaws)
    tell_figure(f"{alarms} false alarms in {bars:,} real bars of 15 files")
    assert bars > 200_000
    assert alarms <= bars / 100_000


@cache
def rows_of(path: Path) -> list[list[float]]:
    _, *lines = gzip.decompress(path.read_bytes()).split()
    return sorted([int(start), *map(float, values)] for start, *values in (line.split(b",") for line in lines))


def plant(rows: list[list[float]], rule: Rule, at: int, factor: float) -> int:
    """Spoil a row, or those from it on; return the least number of rows in a row that must be found."""
    if rule in VALUES_PLANTED:
        for column, value in VALUES_PLANTED[rule].items():
            rows[at][column] = value
        return 1
    if rule in {Rule.PRICE_UNIT, Rule.VOLUME_UNIT}:
        for row in rows[at:]:
            for column in (5,) if rule is Rule.VOLUME_UNIT else (1, 2, 3, 4):
                row[column] *= factor
        return 1
    count = {Rule.REPEATED_VALUES: 10, Rule.FLAT: 30, Rule.ZERO_VOLUME: 5}[rule]
    before = [row[1:] for row in rows[at - count : at]]
    for row, values in zip(rows[at : at + count], before, strict=True):
        row[1:] = values
        if rule is not Rule.REPEATED_VALUES:
            row[1:5] = [before[0][0]] * 4
            row[5] = 0.0 if rule is Rule.ZERO_VOLUME else row[5]
    # Flat rows among the repeated ones are not counted: they repeat by themselves.
    return 1 if rule is Rule.REPEATED_VALUES else count


NEAR = {Rule.VOLUME_UNIT: 60, Rule.REPEATED_VALUES: 10, Rule.FLAT: 1, Rule.ZERO_VOLUME: 0}
"""How many rows off the place of a fault may be told, where it shows in some rows more than in others."""
FACTORS = (1_000, 10, 0.1, 0.001)
PLANTED = [*VALUES_PLANTED, Rule.PRICE_UNIT, Rule.VOLUME_UNIT, Rule.REPEATED_VALUES, Rule.FLAT, Rule.ZERO_VOLUME]


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.label)
def test_each_planted_fault_is_found_in_every_real_series(market_data, rule, tell_figure):
    random = Random(rule.label)
    planted = found = 0
    for path in real_files(market_data):
        if path.name.startswith((SANDBOX, ZEROFILLED)):
            continue
        step = parse_file_name(path).timeframe.step_ms
        whole = rows_of(path)
        for at, factor in zip(random.sample(range(150, len(whole) - 150), 4), FACTORS, strict=True):
            rows = [[*row] for row in whole[max(at - 500, 0) : at + 500]]
            place = min(at, 500)
            length = plant(rows, rule, place, factor)
            bars = BarScan(step)
            times, *values = zip(*rows, strict=True)
            bars.add(times, values)
            bars.finish()
            planted += 1
            index = {row[0]: number for number, row in enumerate(rows)}
            found += any(
                flaw.rule is rule and abs(index[one.first or 0] - place) <= NEAR.get(rule, 0) and one.rows >= length
                for flaw in bars.flaws.ranked()
                for one in flaw.told
            )
    tell_figure(f"{rule.label}: {found} of {planted} planted faults found")
    assert found == planted

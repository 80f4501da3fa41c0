"""Requests of verification, as a table; and the word of the arithmetic, held to the choice that each minute makes."""

from __future__ import annotations

import pytest

from reconciler_engine.market.interval import Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.verification import LAST_MS, Look, VerifyRules, choose_due, standing_of
from reconciler_engine.planning.verify_load import scrub_load, verify_load

MINUTE = 60_000
MIDNIGHT = 1_767_225_600_000
SIX = (Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
DAY = VerifyRules(max_unverified_ms=86_400_000)


def series(symbols: int, frames: tuple[Timeframe, ...] = SIX) -> list[Series]:
    return [Series(f"A{number}-USD", frame) for number in range(symbols) for frame in frames]


@pytest.mark.parametrize(
    ("every", "rules", "per_hour"),
    [
        # 16 bars of 1m, 4 of 5m and 2 of 15m share a page; longer bars have one each
        (series(1), VerifyRules(), 60 / 16 + 3 + 2 + 1 + 1 / 4 + 1 / 24),
        (series(50), VerifyRules(), 502),
        (series(300), VerifyRules(), 3_012),
        (series(1, (Timeframe.M1,)), VerifyRules(max_unverified_ms=1_200_000), 60 / 6),
        # 1,426 bars of 1m and 286 of 5m share five pages and one
        (series(1, (Timeframe.M1, Timeframe.M5)), DAY, (5 / 1_426 + 1 / (286 * 5)) * 60),
    ],
)
def test_the_requests_of_an_hour(every, rules, per_hour):
    assert verify_load(every, rules, 75).per_hour == pytest.approx(per_hour, abs=0.5 if per_hour > 20 else 1e-9)


@pytest.mark.parametrize(
    ("frames", "minutes", "per_hour"),
    [
        # 1m bars by request; of the looks at others, one each time 1m bars are asked for or they close, one in fifty
        (SIX, 30, 60 / 16 + (2 * 60 / 16 + 1 + 1 / 4 + 1 / 24) / 50),
        (SIX, 90, 60 / 76 + (3 * 60 / 76 + 1 / 4 + 1 / 24) / 50),
        # 4h bars make no 6h bar, nor 1d bars from anything else
        ((Timeframe.H4, Timeframe.H6), 30, 1 / 4 + 1 / 6),
        ((Timeframe.M15, Timeframe.D1), 30, 2 + 1 / 24 / 50),
        ((Timeframe.M5,), 30, 3),
    ],
)
def test_the_requests_of_an_hour_where_longer_bars_are_sums(frames, minutes, per_hour):
    load = verify_load(series(7, frames), VerifyRules(max_unverified_ms=minutes * MINUTE), 75)
    assert load.with_sums_per_hour == pytest.approx(7 * per_hour)


@pytest.mark.parametrize(
    ("symbols", "per_minute", "rules", "holds", "least_share", "least_max_unverified"),
    [
        (50, 75, VerifyRules(), True, 0.06, 15),
        (237, 75, VerifyRules(), True, 0.25, 30),
        (300, 75, VerifyRules(), False, 0.32, 35),
        (300, 75, VerifyRules(max_unverified_ms=35 * MINUTE), True, 0.25, 35),
        (2_000, 75, VerifyRules(), False, 2.11, 171),
    ],
)
def test_what_holds_and_what_would(symbols, per_minute, rules, holds, least_share, least_max_unverified):
    load = verify_load(series(symbols), rules, per_minute)
    assert load.holds is holds
    assert load.least_share(0.25) == least_share
    assert load.least_max_unverified_ms == least_max_unverified * MINUTE


def latest_of_a_night(every: list[Series], per_minute: int, rules: VerifyRules) -> int:
    """Choose each minute for the four hours around midnight; return how long after its close a bar waited most (ms)."""
    begin, waited = MIDNIGHT - 120 * MINUTE, 0
    oldest = {one: one.timeframe.floor(begin - rules.settle_ms) for one in every}
    for now in range(begin, MIDNIGHT + 120 * MINUTE, MINUTE):
        standings = {}
        for one, at in oldest.items():
            step = one.timeframe.step_ms
            slots = [slot for slot in (at,) if slot + step <= now]
            stop = now // step * step
            standings[one] = standing_of(Look(Intervals.of_slots(slots, step), stop=stop), now, step, rules)
        for one in choose_due(standings, now, per_minute)[:per_minute]:
            step = one.timeframe.step_ms
            waited = max(waited, now - oldest[one] - step)
            oldest[one] = (now - rules.settle_ms) // step * step
    return waited


@pytest.mark.parametrize("per_minute", [1, 3])
def test_the_choice_of_each_minute_keeps_what_the_arithmetic_says(per_minute):
    rules = VerifyRules()
    most = next(count for count in range(1, 100) if not verify_load(series(count), rules, per_minute).holds) - 1
    assert latest_of_a_night(series(most), per_minute, rules) <= rules.max_unverified_ms - LAST_MS
    assert latest_of_a_night(series(2 * most), per_minute, rules) > rules.max_unverified_ms


def test_the_scrub_takes_what_verification_leaves_of_the_share():
    load = verify_load(series(10), VerifyRules(), 2)
    left = 120 - load.per_hour
    few = scrub_load(1_000, 30, load)
    assert few.per_hour == pytest.approx(1_000 / (0.9 * 30 * 24))
    assert few.left_per_hour == pytest.approx(left)
    assert few.holds
    many = scrub_load(100_000, 30, load)
    assert not many.holds
    assert many.least_days is not None
    assert scrub_load(100_000, many.least_days, load).holds
    assert not scrub_load(100_000, many.least_days - 1, load).holds
    assert scrub_load(1, 30, verify_load(series(10), VerifyRules(), 0.01)).least_days is None

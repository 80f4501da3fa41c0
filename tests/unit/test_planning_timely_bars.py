"""Bars are judged once, by what looks found: held to a count of each bar on its own."""

from __future__ import annotations

from random import Random

import pytest

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.objective import COMPLETE_MS, WINDOWS, BarCounts, Objective, share_in_words
from reconciler_engine.planning.timely_bars import FoundBars, Reached, TimelyBars
from reconciler_engine.store.objective_counts import FrameCounts

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
UNVERIFIED_MS = 30 * MINUTE
T0 = 1_735_689_600_000
ONE, OTHER = Series("BTC-USD", Timeframe.M1), Series("ETH-USD", Timeframe.M5)


class World:
    """Bars of two series, each with its fate, looked at now and then."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.filled: dict[tuple[Series, int], int] = {}
        self.verified: dict[tuple[Series, int], int] = {}
        for series in (ONE, OTHER):
            for at in range(T0 - HOUR, T0 + 6 * HOUR, series.timeframe.step_ms):
                close = at + series.timeframe.step_ms
                late = self.random.random() < 0.1
                self.filled[series, at] = close + self.random.randrange(MINUTE, 2 * HOUR if late else 15 * MINUTE)
                slow = self.random.random() < 0.1
                self.verified[series, at] = close + self.random.randrange(
                    15 * MINUTE, 2 * HOUR if slow else 28 * MINUTE
                )

    def found(self, now: int) -> list[FoundBars]:
        looked = []
        for series in (ONE, OTHER):
            step = series.timeframe.step_ms
            stop = (now - 15_000) // step * step
            slots = Interval(stop - 300 * step, stop)
            grid = [at for at in slots.grid(step) if (series, at) in self.filled]
            missing = [at for at in grid if self.filled[series, at] > now]
            loose = [at for at in grid if self.filled[series, at] <= now < self.verified[series, at]]
            looked.append(
                FoundBars(
                    series,
                    slots,
                    Intervals.of_slots(missing, step),
                    unverified=Intervals.of_slots(loose, step),
                )
            )
        return looked


@pytest.mark.parametrize("seed", range(20))
def test_each_bar_is_judged_once_by_the_first_look_after_its_time(seed):
    world, bars = World(seed), TimelyBars()
    reached: dict[str, Reached] = {}
    counts: dict[str, BarCounts] = {}
    looks = []
    now = T0
    while now < T0 + 5 * HOUR:
        bars.look(world.found(now), now)
        judged = bars.judge(reached, UNVERIFIED_MS)
        assert judged is not None
        reached = judged.reached
        counts = {frame: BarCounts.total([counts.get(frame, BarCounts()), one]) for frame, one in judged.counts.items()}
        looks.append(now)
        now += world.random.randrange(MINUTE, 12 * MINUTE)

    def first_look(at: int) -> int | None:
        return next((look for look in looks if look >= at), None)

    for series in (ONE, OTHER):
        total, late, unverified = 0, 0, 0
        for (one, at), filled in world.filled.items():
            close = at + series.timeframe.step_ms
            judged_at = first_look(close + COMPLETE_MS)
            if one != series or close <= T0 or judged_at is None:
                continue
            total += 1
            was_late = filled > judged_at
            late += was_late
            again_at = first_look(close + UNVERIFIED_MS)
            if again_at is not None and not was_late:
                unverified += filled <= again_at < world.verified[series, at]
        assert counts[series.timeframe.value] == BarCounts(total, late, unverified)
        assert late > 0
        assert unverified > 0


def test_slots_that_wait_for_a_second_sighting_count_apart_and_never_as_unverified():
    bars, slots = TimelyBars(), Interval(T0, T0 + HOUR)
    missing = Intervals([Interval(T0, T0 + 3 * MINUTE)])
    waiting = Intervals([Interval(T0, T0 + 2 * MINUTE)])
    bars.look([FoundBars(ONE, slots, missing, waiting)], T0 + HOUR)
    (first,) = judge(bars, {"1m": Reached(T0, T0)}).counts.values()
    assert first == BarCounts(bars=38, late=1, waiting=2)


def test_a_series_that_cannot_be_read_is_late_and_one_that_is_new_is_not_judged_yet():
    bars, slots = TimelyBars(), Interval(T0, T0 + HOUR)
    bars.look([FoundBars(ONE, slots)], T0 + HOUR)
    reached = judge(bars, {}).reached
    assert reached == {"1m": Reached(T0 + HOUR, T0 + HOUR)}
    later, more = Interval(T0, T0 + 2 * HOUR), Series("NEW-USD", Timeframe.M1)
    whole = Intervals([later])
    bars.look([FoundBars(ONE, later, whole), FoundBars(more, later, whole)], T0 + 2 * HOUR)
    assert judge(bars, reached).counts == {"1m": BarCounts(40, 40)}
    assert bars.judge(reached, UNVERIFIED_MS) is None


def judge(bars: TimelyBars, reached: dict[str, Reached]):
    judged = bars.judge(reached, UNVERIFIED_MS)
    assert judged is not None
    return judged


def test_windows_hold_what_was_judged_within_them_and_grow_no_further():
    kept = FrameCounts(complete=0, verified=0)
    random = Random(7)
    added = []
    for step in range(5_000):
        now = T0 + step * 10 * MINUTE
        counts = BarCounts(random.randrange(20), random.randrange(3), random.randrange(2), random.randrange(2))
        kept = kept.plus(counts, Reached(now, now), now)
        added.append((now, counts))
    windows = {"1h": (HOUR, 5 * MINUTE), "24h": (DAY, HOUR), "30d": (30 * DAY, DAY)}
    assert {name: len(parts) for name, parts in kept.parts.items()} == {"1h": 6, "24h": 24, "30d": 30}
    objective = Objective(0.99, UNVERIFIED_MS, {"1m": totals(kept, now)})
    for name, (length, part) in windows.items():
        expected = BarCounts.total(each for at, each in added if at - at % part > now - length)
        assert objective.of("1m", name) == expected
        bad = (expected.late + expected.unverified) / expected.bars
        assert objective.share("1m", name) == pytest.approx(1 - bad)
        assert objective.burn("1m", name) == pytest.approx(bad / 0.01)
    assert objective.budget_left("1m") == pytest.approx(1 - objective.burn("1m", "30d"))


def totals(kept: FrameCounts, now: int):
    return {window.name: kept.total(window, now) for window in WINDOWS}


@pytest.mark.parametrize(
    ("hour", "day", "burning"),
    [((1_000, 14), (1_000, 2), []), ((1_000, 15), (1_000, 2), ["1m"]), ((1_000, 0), (1_000, 3), ["1m"])],
)
def test_a_budget_burns_at_a_fiftieth_within_an_hour_or_a_tenth_within_a_day(hour, day, burning):
    objective = Objective(0.999, 1, {"1m": {"1h": BarCounts(*hour), "24h": BarCounts(*day)}})
    assert objective.burning() == burning


def test_a_share_is_cut_and_a_promise_is_said_as_it_was_set():
    assert [share_in_words(one) for one in (None, 1.0, 0.99999, 0.9995, 0.0)] == [
        "-",
        "100 %",
        "99.99 %",
        "99.95 %",
        "0 %",
    ]
    words = Objective(0.999, 1_800_000, {}).in_words()
    assert words == "99.9 % of closed bars complete within 20 m 0 s of their close and verified within 30 m 0 s"

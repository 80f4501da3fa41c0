"""When candles that are there are asked for: as late as allowed, shared by many bars, and earlier where all are due."""

from __future__ import annotations

import pytest

from reconciler_engine.engine.passes.agenda import Agenda
from reconciler_engine.market.interval import NOTHING, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.verification import (
    Look,
    Standing,
    VerifyRules,
    choose_due,
    standing_of,
    to_verify,
)

MINUTE = 60_000
T0 = 1_767_225_600_000
RULES = VerifyRules()
BTC = Series("BTC-USD", Timeframe.M1)


def slots(*numbers: int, step: int = MINUTE) -> Intervals:
    return Intervals.of_slots([T0 + number * step for number in numbers], step)


def minute(number: float) -> int:
    return T0 + round(number * MINUTE)


@pytest.mark.parametrize(
    ("unverified", "now", "asked"),
    [
        # one bar, settled after 10 minutes, due after 25
        ([0], 11, []),
        ([0], 25.9, []),
        ([0], 26, [0]),
        # younger ones share its page as far as they are settled
        ([*range(20)], 26, [*range(16)]),
        ([*range(5, 20)], 26, []),
        # nothing to verify
        ([], 26, []),
    ],
)
def test_a_page_goes_when_its_oldest_bar_is_due_with_all_that_are_settled(unverified, now, asked):
    look = Look(slots(*unverified), stop=minute(now))
    assert to_verify(look, minute(now), MINUTE, RULES) == slots(*asked)


def test_a_horizon_brings_the_page_forward_and_never_before_it_is_settled():
    look = Look(slots(0, 8), stop=minute(12))
    assert to_verify(look, minute(12), MINUTE, RULES, horizon_ms=14 * MINUTE) == slots(0)
    assert to_verify(look, minute(12), MINUTE, RULES, horizon_ms=13 * MINUTE) == NOTHING
    assert to_verify(look, minute(10), MINUTE, RULES, horizon_ms=600 * MINUTE) == NOTHING


def test_a_changed_bar_is_due_at_once_unless_it_is_too_young():
    assert to_verify(Look(slots(0, 1), slots(1)), minute(12), MINUTE, RULES) == slots(0, 1)
    assert to_verify(Look(slots(0, 1), slots(1)), minute(11), MINUTE, RULES) == NOTHING


def test_bars_share_a_request_that_goes_out_for_another_reason():
    assert to_verify(Look(slots(0, 1), urgent=slots(5)), minute(12), MINUTE, RULES) == slots(0, 1)


@pytest.mark.parametrize(
    ("look", "standing"),
    [
        (Look(slots(0, 3), stop=minute(12)), Standing(minute(30), minute(26), minute(11))),
        # nothing unverified: the next bar to close
        (Look(stop=minute(12)), Standing(minute(42), minute(38), minute(23))),
        (Look(slots(0), slots(0), stop=minute(12)), Standing(minute(12), minute(12), minute(12))),
        (Look(urgent=slots(4), stop=minute(12)), Standing(minute(12), minute(12), minute(12))),
        (Look(slots(0), stop=minute(12), again_at=minute(14)), Standing(minute(30), minute(14), minute(11))),
    ],
)
def test_a_series_stands_by_its_oldest_unverified_bar_and_by_what_urges(look, standing):
    assert standing_of(look, minute(12), MINUTE, RULES) == standing


def standings(*each: tuple[int, int, int]) -> dict[Series, Standing]:
    return {
        Series(f"P{number}-USD", Timeframe.M1): Standing(*(minute(one) for one in three))
        for number, three in enumerate(each)
    }


def chosen(
    of: dict[Series, Standing], now: float, per_minute: float, free: frozenset[Series] = frozenset()
) -> list[int]:
    return [[*of].index(one) for one in choose_due(of, minute(now), per_minute, free=free)]


def test_those_that_are_due_go_most_urgent_first():
    assert chosen(standings((30, 26, 11), (29, 25, 10), (40, 36, 21)), 26, 60) == [1, 0]


def test_series_go_early_where_all_could_not_go_in_time():
    crowd = standings(*[(30, 26, 11)] * 12)
    assert chosen(crowd, 19, 1) == [*range(12)]
    assert chosen(crowd, 18, 1) == []
    # two a minute need six minutes
    assert chosen(crowd, 24, 2) == []
    assert chosen(crowd, 24.5, 2) == [*range(12)]


def test_a_series_does_not_go_before_something_could_be_verified():
    assert chosen(standings(*[(30, 26, 20)] * 12), 19, 1) == []


def test_a_later_crowd_does_not_hurry_those_after_it():
    assert chosen(standings(*[(30, 26, 11)] * 12, (90, 86, 12)), 19, 1) == [*range(12)]


def test_an_agenda_looks_at_all_series_at_a_scan_tick_and_else_at_those_that_are_due():
    agenda, series = Agenda(), [BTC, Series("ETH-USD", Timeframe.M1)]
    assert agenda.begin(series, minute(20), 60, next_full=minute(25)) == series
    looks = {BTC: Look(slots(0), stop=minute(20)), series[1]: Look(slots(5), stop=minute(20))}
    assert agenda.choose(looks, minute(20), 60, RULES) == []
    assert agenda.begin(series, minute(21), 60, next_full=minute(25)) == []
    assert agenda.begin(series, minute(25), 60, next_full=minute(30)) == series
    agenda.choose(looks, minute(25), 60, RULES)
    assert agenda.begin(series, minute(26), 60, next_full=minute(30)) == [BTC]


def test_an_agenda_looks_at_a_new_series_at_once_and_forgets_one_that_left():
    agenda = Agenda()
    agenda.begin([BTC], minute(20), 60, next_full=minute(25))
    agenda.choose({BTC: Look(slots(0), stop=minute(20))}, minute(20), 60, RULES)
    other = Series("ETH-USD", Timeframe.M1)
    assert agenda.begin([other], minute(24), 60, next_full=minute(25)) == [other]


@pytest.mark.parametrize(("again_at", "next_due"), [(None, 30), (minute(28), 28), (minute(40), 30)])
def test_what_an_answer_did_not_settle_waits_for_its_time_or_the_next_full_look(again_at, next_due):
    agenda = Agenda()
    agenda.begin([BTC], minute(25), 60, next_full=minute(30))
    looks = {BTC: Look(slots(0), stop=minute(26), again_at=again_at)}
    assert agenda.choose(looks, minute(26), 60, RULES) == [BTC]
    agenda.note_asked(looks, minute(26), RULES)
    asked = [at for at in range(26, 30) if agenda.begin([BTC], minute(at), 60, next_full=minute(30))]
    assert asked == [*range(next_due, 30)]


def test_an_agenda_is_behind_until_all_that_is_due_was_asked_for():
    agenda, series = Agenda(), [BTC, Series("ETH-USD", Timeframe.M1)]
    agenda.begin(series, minute(26), 60, next_full=minute(30))
    looks = {one: Look(slots(0), stop=minute(26)) for one in series}
    agenda.choose(looks, minute(26), 60, RULES)
    after = {one: Look(stop=minute(26)) for one in series}
    agenda.note_asked({BTC: after[BTC]}, minute(26), RULES)
    assert agenda.is_behind(minute(26), 60)
    agenda.note_asked(after, minute(26), RULES)
    assert not agenda.is_behind(minute(26), 60)


def test_an_agenda_takes_no_more_than_two_minutes_of_the_share_at_a_time():
    agenda = Agenda()
    series = [Series(f"P{number}-USD", Timeframe.M1) for number in range(100)]
    agenda.begin(series, minute(26), 10, next_full=minute(30))
    looks = {one: Look(slots(0), stop=minute(26)) for one in series}
    assert len(agenda.choose(looks, minute(26), 10, RULES)) == 21


def test_series_that_follow_from_finer_ones_hurry_nobody_and_do_not_go_early():
    crowd = standings(*[(30, 26, 11)] * 12)
    free = frozenset([*crowd][::2])
    # six requests at one a minute
    assert chosen(crowd, 23, 1, free) == []
    assert chosen(crowd, 25, 1, free) == [*range(1, 12, 2)]
    assert chosen(crowd, 26, 1, free) == [*range(12)]


def test_an_agenda_looks_at_longer_timeframes_of_a_symbol_together_with_its_finest():
    agenda = Agenda()
    five, hour = Series("BTC-USD", Timeframe.M5), Series("BTC-USD", Timeframe.H1)
    other = Series("ETH-USD", Timeframe.M5)
    agenda.begin([BTC, five, hour, other], minute(25), 60, next_full=minute(30))
    step = five.timeframe.step_ms
    looks = {
        BTC: Look(slots(0), stop=minute(26)),
        # settled since minute 20, due at 35
        five: Look(slots(1, step=step), stop=minute(25)),
        other: Look(slots(1, step=step), stop=minute(25)),
        hour: Look(stop=minute(0)),
    }
    picked = agenda.choose(looks, minute(26), 60, RULES)
    assert picked == [BTC]
    assert agenda.companions(frozenset(picked), minute(26)) == [five]
    assert agenda.begin([BTC, five, hour, other], minute(26), 60, next_full=minute(30)) == [BTC, five]


def test_an_agenda_counts_no_request_for_a_series_of_three_sums_in_a_row():
    agenda = Agenda()
    series = [Series(f"P{number}-USD", Timeframe.M5) for number in range(100)]
    agenda.begin(series, minute(30), 10, next_full=minute(40))
    looks = {one: Look(slots(0, step=5 * MINUTE), stop=minute(30)) for one in series}
    for times in (1, 2, 3):
        agenda.note_sums(series, ())
        assert len(agenda.choose(looks, minute(30), 10, RULES)) == (100 if times == 3 else 21)
    agenda.note_sums((), series)
    assert len(agenda.choose(looks, minute(30), 10, RULES)) == 21


def test_series_that_go_before_they_are_due_are_told():
    agenda = Agenda()
    series = [Series(f"P{number}-USD", Timeframe.M1) for number in range(12)]
    agenda.begin(series, minute(19), 1, next_full=minute(30))
    looks = {one: Look(slots(0), stop=minute(19)) for one in series}
    picked = agenda.choose(looks, minute(19), 1, RULES)
    assert agenda.hurried(picked, minute(19)) == {*picked} != set()
    assert agenda.hurried(picked, minute(26)) == frozenset()

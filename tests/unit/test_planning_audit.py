"""Candles that are doubted, those of them that give way, and those that a repair asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.audit import AuditRules, Copy, Doubt, find_doubts, find_due_suspects, values_of
from reconciler_engine.planning.ledger import Finding, FindingInterval, Knowledge, Ledger, Reason, State
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.verification import DEFAULT_SETTLE_MS

STEP = 60_000
T0 = 1_767_225_600_000
LONG_AFTER = T0 + 86_400_000
HOUR = 3_600_000
SLOT = Interval(T0, T0 + STEP)
DAY = Interval(T0, LONG_AFTER)
REPORT, REPAIR, LATER = AuditRules(), AuditRules(repairs=True), AuditRules(repairs=True, settle_ms=HOUR)


def candle(slot: int = 0, volume: float = 2.0) -> Candle:
    return Candle(T0 + slot * STEP, 10.0, 12.0, 9.0, 11.0, volume)


def copy(one: Candle) -> Copy:
    return Copy(b"as it stands", values_of(one))


def known_after(asked: Interval, at: int, *doubted: int) -> Ledger:
    slots = Intervals([asked])
    seen = Answer(asked, at, slots, doubted=Intervals.of_slots(doubted, STEP))
    return judge(Knowledge(), seen, slots, Venue(), STEP).known.ledger


@pytest.mark.parametrize("settle_ms", [DEFAULT_SETTLE_MS, HOUR])
@pytest.mark.parametrize("repairs", [False, True])
def test_a_candle_is_compared_once_the_exchanges_is_final(settle_ms, repairs):
    rules, final = AuditRules(repairs, settle_ms), T0 + STEP + settle_ms
    copies = {T0: copy(candle(volume=1.0))}
    assert find_doubts(copies, [candle()], final - 1, STEP, rules) == []
    assert find_doubts(copies, [candle()], final, STEP, rules) == [Doubt(candle(), copies[T0], yields=repairs)]


@pytest.mark.parametrize(
    ("rules", "after_close_ms"), [(REPORT, None), (REPAIR, DEFAULT_SETTLE_MS), (LATER, HOUR)], ids=str
)
def test_a_suspect_is_asked_for_once_it_may_give_way(rules, after_close_ms):
    """It may have been found under other rules; suspects that may not give way rest for an hour."""
    found_at = T0 + 2 * STEP
    rested = found_at + HOUR
    known = known_after(SLOT, found_at, T0)
    due = rested if after_close_ms is None else min(rested, T0 + STEP + after_close_ms)
    assert list(find_due_suspects(known, DAY, due - 1, STEP, rules)) == []
    assert list(find_due_suspects(known, DAY, due, STEP, rules)) == [SLOT]


@pytest.mark.parametrize(
    ("there", "is_doubted"),
    [
        ((10.0, 12.0, 9.0, 11.0, 61.20000000000001), False),
        ((10.0, 12.0, 9.0, 11.0, 61.2 * (1 - 9e-9)), False),
        ((10.0, 12.0, 9.0, 11.0, 61.2 * (1 - 2e-8)), True),
        ((10.0, 12.0, 9.0, 11.0, 0.0), True),
        ((10.0, 12.0, 9.0, 11.000000000000002, 61.2), True),
    ],
)
def test_prices_are_equal_exactly_and_volumes_to_1e_8(there, is_doubted):
    found = find_doubts({T0: Copy(b"", there)}, [candle(volume=61.2)], LONG_AFTER, STEP, REPORT)
    assert bool(found) is is_doubted


def test_a_suspect_is_asked_for_when_it_is_due():
    for reason in (Reason.VALUES_DIFFER, Reason.SECOND_ANSWER, Reason.NOT_AT_EXCHANGE):
        ghost = Finding(State.SUSPECT, reason, T0, T0, 1, LONG_AFTER)
        ledger = Ledger([FindingInterval(SLOT.start, SLOT.stop, ghost)])
        for now, found in ((LONG_AFTER - 1, []), (LONG_AFTER, [SLOT])):
            assert list(find_due_suspects(ledger, DAY, now, STEP, REPAIR)) == found


def test_suspects_side_by_side_are_asked_for_together():
    asked = Interval(T0, T0 + 4 * STEP)
    rows = list(asked.grid(STEP))
    known = known_after(asked, LONG_AFTER, *rows[:3])
    assert list(find_due_suspects(known, DAY, LONG_AFTER, STEP, REPAIR)) == [Interval(T0, rows[3])]
    assert list(find_due_suspects(known, DAY, LONG_AFTER, STEP, REPORT)) == []


def test_only_final_candles_that_are_there_and_differ_are_doubted():
    copies = {one.timestamp: copy(one) for one in (candle(0), candle(1, 1.0), candle(3, 1.0), candle(4, 1.0))}
    answer = [candle(slot) for slot in (0, 1, 2, 3, 4)]
    # slot 3 has just settled; slot 0 agrees, slot 2 is absent
    now = T0 + 4 * STEP + DEFAULT_SETTLE_MS
    assert [doubt.candle for doubt in find_doubts(copies, answer, now, STEP, REPORT)] == [candle(1), candle(3)]
    assert [doubt.candle for doubt in find_doubts(copies, answer, now - 1, STEP, REPORT)] == [candle(1)]


@pytest.mark.parametrize("field", range(5))
def test_any_value_that_differs_is_a_doubt(field):
    values = list(values_of(candle()))
    values[field] += 0.25
    assert find_doubts({T0: Copy(b"", tuple(values))}, [candle()], LONG_AFTER, STEP, REPORT)
    assert find_doubts({T0: copy(candle())}, [candle()], LONG_AFTER, STEP, REPORT) == []


@pytest.mark.parametrize(
    ("field", "change", "is_doubted"),
    [("volume", 1e-8, False), ("volume", 1.1e-8, True), ("close", 1e-12, True)],
)
def test_prices_are_equal_exactly_and_volumes_to_a_share(field, change, is_doubted):
    other = replace(candle(), **{field: getattr(candle(), field) * (1 + change)})
    assert bool(find_doubts({T0: copy(other)}, [candle()], LONG_AFTER, STEP, REPORT)) is is_doubted

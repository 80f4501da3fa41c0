"""Which candles are doubted, which of them give way, and which a repair asks for."""

from __future__ import annotations

import pytest

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval
from reconciler_engine.planning.answers import Answer
from reconciler_engine.planning.audit import AuditRules, Copy, Doubt, find_doubts, find_repairable, values_of
from reconciler_engine.planning.ledger import Ledger
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.sightings import RIPE_MS

STEP = 60_000
T0 = 1_767_225_600_000
LONG_AFTER = T0 + 86_400_000
HOUR = 3_600_000
SLOT = Interval(T0, T0 + STEP)
DAY = Interval(T0, LONG_AFTER)
REPORT, REPAIR, FINAL = AuditRules(), AuditRules(repairs=True), AuditRules(repairs=True, final_after_ms=HOUR)


def candle(slot: int = 0, volume: float = 2.0) -> Candle:
    return Candle(T0 + slot * STEP, 10.0, 12.0, 9.0, 11.0, volume)


def copy(one: Candle, *, live: bool = False) -> Copy:
    return Copy(b"as it stands", values_of(one), live)


@pytest.mark.parametrize(
    ("rules", "live", "after_close_ms"),
    [
        (REPORT, False, None),
        (REPORT, True, None),
        (REPAIR, False, RIPE_MS),
        (REPAIR, True, None),
        (FINAL, False, RIPE_MS),
        (FINAL, True, HOUR),
        (AuditRules(repairs=True, final_after_ms=1), True, RIPE_MS),
        (AuditRules(repairs=False, final_after_ms=HOUR), True, None),
    ],
)
def test_who_gives_way_and_when(rules, live, after_close_ms):
    for found_by in (REPORT, REPAIR, FINAL):
        (doubt,) = find_doubts({T0: copy(candle(volume=1.0), live=live)}, [candle()], T0 + 2 * STEP, STEP, found_by)
        assert doubt == Doubt(candle(), b"as it stands", live, yields=False)
        answer = Answer(SLOT, T0 + 2 * STEP, [T0], covering=True, doubted={T0: live})
        known = judge(Ledger(), answer, NOTHING, STEP).ledger
        # whatever the rules were when it was found
        due = LONG_AFTER if after_close_ms is None else T0 + STEP + after_close_ms
        for at, yields in ((due - 1, False), (due, after_close_ms is not None)):
            (doubt,) = find_doubts({T0: copy(candle(volume=1.0), live=live)}, [candle()], at, STEP, rules)
            assert doubt == Doubt(candle(), b"as it stands", live, yields)
            assert list(find_repairable(known, DAY, at, STEP, rules)) == [SLOT] * yields


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
    found = find_doubts({T0: Copy(b"", there, is_live=True)}, [candle(volume=61.2)], LONG_AFTER, STEP, REPORT)
    assert bool(found) is is_doubted


def test_a_suspect_the_exchange_has_no_candle_for_is_not_asked_for_by_any_rules():
    answers = [
        Answer(SLOT, LONG_AFTER, [T0], covering=True, doubted={T0: True}),
        Answer(SLOT, LONG_AFTER, [], covering=True),
    ]
    known = judge(Ledger(), answers[0], NOTHING, STEP).ledger
    assert list(find_repairable(known, DAY, LONG_AFTER, STEP, FINAL)) == [SLOT]
    assert list(find_repairable(judge(known, answers[1], NOTHING, STEP).ledger, DAY, LONG_AFTER, STEP, FINAL)) == []


def test_suspects_side_by_side_are_asked_for_together():
    asked = Interval(T0, T0 + 4 * STEP)
    rows = list(asked.grid(STEP))
    doubted = {rows[0]: False, rows[1]: True, rows[2]: False}
    known = judge(Ledger(), Answer(asked, LONG_AFTER, rows, covering=True, doubted=doubted), NOTHING, STEP).ledger
    assert list(find_repairable(known, DAY, LONG_AFTER, STEP, FINAL)) == [Interval(T0, rows[3])]
    assert list(find_repairable(known, DAY, LONG_AFTER, STEP, REPAIR)) == [SLOT, Interval(rows[2], rows[3])]


def test_only_closed_candles_that_are_there_and_differ_are_doubted():
    copies = {one.timestamp: copy(one) for one in (candle(0), candle(1, 1.0), candle(3, 1.0), candle(4, 1.0))}
    answer = [candle(slot) for slot in (0, 1, 2, 3, 4)]
    # slot 3 closed the whole grace before, slot 4 is forming; slot 0 agrees, slot 2 is absent
    now = T0 + 4 * STEP + 15_000
    assert [doubt.candle for doubt in find_doubts(copies, answer, now, STEP, REPORT)] == [candle(1), candle(3)]
    assert [doubt.candle for doubt in find_doubts(copies, answer, now - 1, STEP, REPORT)] == [candle(1)]


@pytest.mark.parametrize("field", range(5))
def test_any_value_that_differs_is_a_doubt(field):
    values = list(values_of(candle()))
    values[field] += 0.25
    assert find_doubts({T0: Copy(b"", tuple(values), is_live=False)}, [candle()], LONG_AFTER, STEP, REPORT)
    assert find_doubts({T0: copy(candle())}, [candle()], LONG_AFTER, STEP, REPORT) == []

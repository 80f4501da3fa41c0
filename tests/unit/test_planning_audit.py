"""Which candles are doubted, and from when on each may give way."""

from __future__ import annotations

import pytest

from reconciler_engine.market.candle import Candle
from reconciler_engine.planning.audit import AuditRules, Copy, Doubt, find_doubts, values_of
from reconciler_engine.planning.proof import RIPE_MS

STEP = 60_000
T0 = 1_767_225_600_000
LONG_AFTER = T0 + 86_400_000
HOUR = 3_600_000
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
    (doubt,) = find_doubts({T0: copy(candle(volume=1.0), live=live)}, [candle()], LONG_AFTER, STEP, rules)
    due = None if after_close_ms is None else T0 + STEP + after_close_ms
    assert doubt == Doubt(candle(), b"as it stands", due)


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

"""Contested slots: the exchange's candle and another writer's replace each other, and repair is left off. Pure."""

from __future__ import annotations

from reconciler_engine.market.interval import Intervals
from reconciler_engine.planning.ledger import Finding, Knowledge, Reason, Repaired, State
from reconciler_engine.planning.sightings import DAILY_MS

CONTESTED_AFTER = 3
"""So many replacements within a day make a slot contested."""

MOST_REPAIRED = 1_000
"""Slots in the memory of replacements: the newest."""


def note_repairs(known: Knowledge, replaced: Intervals, at: int, step: int) -> Knowledge:
    """Return the knowledge after the exchange's candles took the place of others at `at` (ms UTC).

    The third replacement within a day makes a slot contested for a day.
    """
    if not replaced:
        return known
    memory = {one.slot: one for one in known.repaired if at - one.first < DAILY_MS}
    contested = []
    for slot in replaced.slots(step):
        before = memory.pop(slot, Repaired(slot, 0, at))
        memory[slot] = before._replace(times=before.times + 1)
        if memory[slot].times >= CONTESTED_AFTER:
            contested.append(slot)
    finding = Finding(State.SUSPECT, Reason.CONTESTED, at, at, 1, at + DAILY_MS)
    ledger = known.ledger.revise(Intervals.of_slots(contested, step), lambda _: finding)
    return known._replace(ledger=ledger, repaired=tuple(memory.values())[-MOST_REPAIRED:])


def is_left_alone(known: Finding | None, at: int) -> bool:
    """Whether a slot is contested and the day for which repair leaves it alone is not over at `at` (ms UTC)."""
    return (
        known is not None
        and known.reason is Reason.CONTESTED
        and known.next_check is not None
        and at < known.next_check
    )

"""When the venue stood still: the same slots without a candle in several products that trade all the time. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.ledger import Finding, Knowledge, Reason, State
from reconciler_engine.planning.sightings import APART_MS, RECHECK_MS

WITNESSES = 3
"""Dense products that must have nothing in a slot."""

DENSE_SHARE = 0.95
"""A product is dense if at least this share of the slots outside the halts holds candles."""

LEAST_SLOTS = 20
"""Slots outside the halts that a window must have: of fewer, the share says nothing."""


def find_halts(absences: Mapping[str, Intervals], window: Interval, step: int) -> Intervals:
    """Return the slots in which the venue stood still.

    The densest `WITNESSES` products have nothing there, are dense everywhere else, and no other dense product has a
    candle there. Thin products do not count as witnesses: they share empty slots by chance.

    Args:
        absences: Slots of each product that can be halted, on the grid. Products that were not examined, or that
            miss another slot, do not belong here.
        window: The slots examined of every product.
        step: The grid's step (ms).
    """
    slots = window.size(step)
    nothing = sorted((set((absent & window).slots(step)) for absent in absences.values()), key=len)
    if len(nothing) < WITNESSES:
        return NOTHING
    halted = set.intersection(*nothing[:WITNESSES])
    if not all(_is_dense(empty, halted, slots) for empty in nothing[:WITNESSES]):
        return NOTHING
    for empty in nothing[WITNESSES:]:
        if _is_dense(empty, halted, slots):
            halted &= empty
    return Intervals.of_slots(sorted(halted), step)


def _is_dense(empty: set[int], halted: set[int], slots: int) -> bool:
    others = slots - len(halted)
    return others >= LEAST_SLOTS and len(empty - halted) <= (1 - DENSE_SHARE) * others


def can_be_halted(finding: Finding) -> bool:
    """Whether a slot is proved empty, or two answers four minutes apart lacked it beside enough witnesses."""
    if finding.state is State.EMPTY:
        return finding.is_confirmed and finding.reason is not Reason.BY_HAND
    return finding.reason is Reason.AMONG_WITNESSES_ONCE and finding.last - finding.first >= APART_MS


def apply_halts(known: Knowledge, halts: Intervals) -> Knowledge:
    """Return the knowledge with the slots inside these intervals that can be as `halted`."""
    return known._replace(ledger=known.ledger.revise(halts, _halted))


def _halted(known: Finding | None) -> Finding | None:
    if known is None or not can_be_halted(known):
        return known
    if known.state is State.EMPTY:
        # The proof and its checks stay.
        return known._replace(state=State.HALTED, reason=Reason.HALTED_TWICE)
    return Finding(
        State.HALTED, Reason.HALTED_TWICE, known.last, known.last, known.sightings, known.last + RECHECK_MS[0]
    )

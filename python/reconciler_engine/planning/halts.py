"""Halts of the venue: slots without a candle in several products at once that otherwise always trade. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.ledger import Finding, Knowledge, Reason, State
from reconciler_engine.planning.sightings import APART_MS, RECHECK_MS

WITNESSES = 3
"""Number of dense products that must lack a candle in a slot."""

DENSE_SHARE = 0.95
"""A product is dense if it has candles in at least this share of the slots outside the halts."""

LEAST_SLOTS = 20
"""Fewest slots outside the halts from which the share is judged."""


def find_halts(absences: Mapping[str, Intervals], window: Interval, step: int) -> Intervals:
    """Return the slots in which the venue was halted.

    In a halted slot no dense product has a candle, and at least `WITNESSES` products are dense. Products that trade
    rarely prove nothing: they share empty slots by chance.

    Args:
        absences: Slots of each product for which `can_be_halted` holds, on the grid. The caller leaves out products
            that were not examined, and those with any other missing slot.
        window: The slots that were examined in every product.
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
    """Whether a slot is proved empty, or two answers with enough witnesses lacked it, four minutes apart."""
    if finding.state is State.EMPTY:
        return finding.is_confirmed and finding.reason is not Reason.BY_HAND
    return finding.reason is Reason.AMONG_WITNESSES_ONCE and finding.last - finding.first >= APART_MS


def apply_halts(known: Knowledge, halts: Intervals) -> Knowledge:
    """Return the knowledge with all slots in `halts` that can be halted set to `halted`."""
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

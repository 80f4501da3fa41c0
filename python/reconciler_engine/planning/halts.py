"""When the venue stood still: the same slots without a candle in several products that trade all the time. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.ledger import Finding, Ledger, Reason, State

WITNESSES = 3
"""Dense products that must have nothing in a slot."""

DENSE_SHARE = 0.95
"""A product is dense if at least this share of the slots outside the halts holds candles."""

LEAST_SLOTS = 20
"""Slots outside the halts that a window must have: of fewer, the share says nothing."""


def find_halts(absences: Mapping[str, Intervals], window: Interval, step: int) -> Intervals:
    """Return the slots in which the venue stood still.

    The densest `WITNESSES` products have nothing there, are dense everywhere else, and no other dense product has a
    candle there. Thin products are no witnesses: they share empty slots by chance.

    Args:
        absences: By product, where it is confirmed to have no candle, on the grid. A product
            that was not examined, or of which a slot is still missing, does not belong here.
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


def apply_halts(ledger: Ledger, halts: Intervals) -> Ledger:
    """Return the ledger with its empty slots inside these intervals as `halted`; proofs and checks stay."""
    return ledger.revise(halts, _halted)


def _halted(known: Finding | None) -> Finding | None:
    if known is None or known.state is not State.EMPTY or known.reason is Reason.BY_HAND:
        return known
    return known._replace(state=State.HALTED, reason=Reason.MARKET_HALTED)

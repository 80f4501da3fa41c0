"""When the venue stood still: the same slots without a candle in several products that trade all the time. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.intervals import common, spans_in
from reconciler_engine.planning.ledger import Finding, Ledger, Reason, State

WITNESSES = 3
"""Dense products that must have nothing in a slot."""

DENSE_SHARE = 0.95
"""A product is dense if at least this share of the slots outside the halts holds candles."""

LEAST_SLOTS = 20
"""Slots outside the halts that a window must have: of fewer, the share says nothing."""


def find_halts(absences: Mapping[str, Sequence[Interval]], window: Interval, step: int) -> list[Interval]:
    """Return the slots in which the venue stood still, as maximal intervals, ascending.

    The densest `WITNESSES` products have nothing there, are dense everywhere else, and no other dense product has a
    candle there. Thin products are no witnesses: they share empty slots by chance.

    Args:
        absences: By product, where it is confirmed to have no candle; ascending, disjoint, on the grid. A product
            that was not examined, or of which a slot is still missing, does not belong here.
        window: The slots examined of every product.
        step: The grid's step (ms).
    """
    slots = len(window.grid(step))
    nothing = sorted((_slots_in(spans, window, step) for spans in absences.values()), key=len)
    if len(nothing) < WITNESSES:
        return []
    halted = set.intersection(*nothing[:WITNESSES])
    if not all(_is_dense(empty, halted, slots) for empty in nothing[:WITNESSES]):
        return []
    for empty in nothing[WITNESSES:]:
        if _is_dense(empty, halted, slots):
            halted &= empty
    return spans_in(sorted(halted), step)


def _slots_in(spans: Sequence[Interval], window: Interval, step: int) -> set[int]:
    return {open_time for span in common(spans, [window]) for open_time in span.grid(step)}


def _is_dense(empty: set[int], halted: set[int], slots: int) -> bool:
    others = slots - len(halted)
    return others >= LEAST_SLOTS and len(empty - halted) <= (1 - DENSE_SHARE) * others


def apply_halts(ledger: Ledger, halts: Sequence[Interval]) -> Ledger:
    """Return the ledger with its empty slots inside these intervals as `halted`; proofs and checks stay."""
    return ledger.revise(halts, _halted)


def _halted(known: Finding | None) -> Finding | None:
    if known is None or known.state is not State.EMPTY or known.reason is Reason.BY_HAND:
        return known
    return known._replace(state=State.HALTED, reason=Reason.MARKET_HALTED)

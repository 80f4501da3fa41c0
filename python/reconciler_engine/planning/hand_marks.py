"""Changes of evidence by hand: slots in a state for good, or forgotten. Pure."""

from __future__ import annotations

from reconciler_engine.market.interval import Intervals
from reconciler_engine.planning.ledger import Finding, Knowledge, Reason, State


def mark(known: Knowledge, slots: Intervals, state: State, at: int) -> Knowledge:
    """Return the knowledge with these slots in a state by hand, for good; `UNKNOWN` forgets all about them.

    Args:
        known: The knowledge before.
        slots: The slots, on the grid.
        state: `EMPTY`, `HALTED`, `UNLISTED` or `UNKNOWN`.
        at: Instant of the change (ms UTC).

    Raises:
        ValueError: The state is one that only candles or answers can give.
    """
    exists = known.exists - slots
    if state is State.UNKNOWN:
        return known._replace(ledger=known.ledger.revise(slots, lambda _: None), exists=exists)
    if state not in (State.EMPTY, State.HALTED, State.UNLISTED):
        raise ValueError(f"state {state.value!r} cannot be set by hand; allowed: empty, halted, unlisted, unknown")
    finding = Finding(state, Reason.BY_HAND, at, at, 1, None)
    return known._replace(ledger=known.ledger.revise(slots, lambda _: finding), exists=exists)

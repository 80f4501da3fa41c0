"""How slots without a candle stand: missing or confirmed, and which of them are worth a request. Pure."""

from __future__ import annotations

from typing import NamedTuple

from reconciler_engine.market.interval import NOTHING, Intervals
from reconciler_engine.planning.ledger import Ledger


class AbsentSlots(NamedTuple):
    """Slots without a candle, by how they stand.

    Attributes:
        missing: Those of which a candle may exist.
        confirmed: Those of which none exists, as far as anybody can know now. With `missing` they are all the slots.
        due: Those of both that are worth a request now: nobody has asked yet, or another answer could prove more.
    """

    missing: Intervals
    confirmed: Intervals
    due: Intervals


def sort_absent(absent: Intervals, ledger: Ledger, now: int) -> AbsentSlots:
    """Sort slots by their state at `now` (ms UTC), from their findings.

    Args:
        absent: The slots that hold no candle, on the grid.
        ledger: Findings, on these slots at least.
        now: The instant of the question.
    """
    if not absent or not ledger.findings:
        return AbsentSlots(absent, NOTHING, absent)
    confirmed = absent & ledger.confirmed(absent.hull)
    return AbsentSlots(absent - confirmed, confirmed, absent - ledger.resting(absent.hull, now))

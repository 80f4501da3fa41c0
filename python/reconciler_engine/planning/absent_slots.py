"""How slots without a candle stand: missing or confirmed, and which of them are worth a request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.intervals import common, without
from reconciler_engine.planning.ledger import Ledger


class AbsentSlots(NamedTuple):
    """Slots without a candle, each part as intervals, ascending and disjoint.

    Attributes:
        missing: Those of which a candle may exist.
        confirmed: Those of which none exists, as far as anybody can know now. With `missing` they are all the slots.
        due: Those of both that are worth a request now: nobody has asked yet, or another answer could prove more.
    """

    missing: list[Interval]
    confirmed: list[Interval]
    due: list[Interval]


def sort_absent(absent: Sequence[Interval], ledger: Ledger, now: int) -> AbsentSlots:
    """Say how slots stand at `now` (ms UTC) by what is known of them.

    Args:
        absent: The slots that hold no candle: intervals on the grid, ascending and disjoint.
        ledger: What is known, of these slots at least.
        now: The instant of the question.
    """
    if not absent or not ledger.stretches:
        return AbsentSlots(list(absent), [], list(absent))
    reach = Interval(absent[0].start, absent[-1].stop)
    confirmed = common(absent, ledger.confirmed(reach))
    return AbsentSlots(without(absent, confirmed), confirmed, without(absent, ledger.resting(reach, now)))

"""Pages over slots that a border between pages left unproven, with the candles on both sides. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.pages import PAGE_SLOTS, Page, keep_whole, lay
from reconciler_engine.planning.sightings import RIPE_MS


def can_bridge(absent: Interval, now: int, closed: int, step: int, *, limit: int = PAGE_SLOTS) -> bool:
    """Return whether one answer can prove an interval: a page has room for it and a closed slot on each side.

    Args:
        absent: Slots without a candle, between two that hold one.
        now: An instant (ms UTC); one answer does not prove slots that closed later than `RIPE_MS` before it.
        closed: First open time (ms UTC) that has not closed.
        step: The grid's step (ms).
        limit: Slots a page may span.
    """
    return absent.size(step) + 2 <= limit and absent.stop <= now - RIPE_MS and absent.stop < closed


def bridges(
    unresolved: Intervals,
    confirmed: Intervals,
    answered: Intervals,
    slots: Interval,
    now: int,
    step: int,
    *,
    asked: Sequence[Interval] = (),
    limit: int = PAGE_SLOTS,
) -> list[Page]:
    """Return the fewest pages, newest first, of which each proves the unresolved slots in it by one answer.

    Where a page ends among slots without a candle, its answer proves nothing about them by itself. Once the pages are
    answered it is known where the candles on both sides are, and that a page holds both: asked for whole, the interval
    is settled in this pass and not by a second answer minutes later. Intervals are left out of which a slot could not
    be asked for, closed too lately, or lies at the end of the slots looked at; those too long for a page; and those of
    which an answer told already, with a slot on each side: it proved as much as another would.

    Args:
        unresolved: Slots that are missing still.
        confirmed: Slots that are confirmed to have no candle.
        answered: Slots that were answered for in this pass.
        slots: The slots looked at, on the grid.
        now: The instant of the pass (ms UTC).
        step: The grid's step (ms).
        asked: Slots of each answer of this pass.
        limit: Slots a page may span.
    """
    provable = [
        absent
        for absent in unresolved | confirmed
        if (left := unresolved & absent)
        and absent.start > slots.start
        and can_bridge(absent, now, slots.stop, step, limit=limit)
        and not left - answered
        and not any(one.start < absent.start and absent.stop < one.stop for one in asked)
    ]
    pages = lay(provable, step, limit - 2, keep_whole)
    return [
        Page(Interval(page.interval.start - step, page.interval.stop + step), unresolved & page.wanted)
        for page in reversed(pages)
    ]

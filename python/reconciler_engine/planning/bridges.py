"""Pages over what a border between pages left unproven: whole runs, with the candles on both sides. Pure."""

from __future__ import annotations

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.pages import PAGE_SLOTS, Page, keep_whole, lay
from reconciler_engine.planning.sightings import RIPE_MS


def can_bridge(run: Interval, now: int, closed: int, step: int, *, limit: int = PAGE_SLOTS) -> bool:
    """Whether one answer can prove a run of missing slots: a page has room for it and a closed slot on each side.

    Args:
        run: A whole run: its neighbours are not missing.
        now: An instant (ms UTC); what closed later than `RIPE_MS` before it is not proved by one answer.
        closed: First open time (ms UTC) that has not closed.
        step: The grid's step (ms).
        limit: Slots a page may span.
    """
    return run.stop - run.start + 2 * step <= limit * step and run.stop <= now - RIPE_MS and run.stop < closed


def bridges(
    unresolved: Intervals,
    confirmed: Intervals,
    answered: Intervals,
    slots: Interval,
    now: int,
    step: int,
    *,
    limit: int = PAGE_SLOTS,
) -> list[Page]:
    """Return the fewest pages, newest first, of which each proves the unresolved slots in it by one answer.

    Where a page ends in a run of slots without a candle, its answer proves nothing about them by itself. Once the pages
    are answered it is known where the run's candles on both sides are, and that a page holds both: asked for whole, the
    run is settled in this pass and not by a second answer minutes later. Left out are runs of which a slot could not be
    asked for, closed too lately, or lies at the end of what was looked at; and those too long for a page.

    Args:
        unresolved: Slots that are missing still.
        confirmed: Slots that are confirmed to have no candle.
        answered: Slots that were answered for in this pass.
        slots: The slots looked at, on the grid.
        now: The instant of the pass (ms UTC).
        step: The grid's step (ms).
        limit: Slots a page may span.
    """
    runs = [
        run
        for run in unresolved | confirmed
        if (left := unresolved & run)
        and run.start > slots.start
        and can_bridge(run, now, slots.stop, step, limit=limit)
        and not left - answered
    ]
    pages = lay(runs, step, limit - 2, keep_whole)
    return [
        Page(Interval(page.interval.start - step, page.interval.stop + step), unresolved & page.wanted)
        for page in reversed(pages)
    ]

"""Bridges: pages that prove slots which a border between two pages left unproven. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.pages import PAGE_SLOTS, Page, keep_whole, lay
from reconciler_engine.planning.sightings import RIPE_MS


def can_bridge(absent: Interval, now: int, closed: int, step: int, *, limit: int = PAGE_SLOTS) -> bool:
    """Return whether one answer can prove an interval: a page has room for it and a closed slot on each side.

    Args:
        absent: Slots without a candle, between two that hold one.
        now: An instant (ms UTC); a single answer proves only slots that closed at least `RIPE_MS` before.
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
    """Return the fewest pages, newest first, each of which can prove its unresolved slots with one answer.

    A page that ends among slots without a candle proves nothing about them by itself. Once all pages are answered, the
    candles on both sides are known. One page over the whole interval and these candles then settles it in this pass,
    not minutes later with a second answer. An interval is left out if

    - one of its slots was not answered, closed too recently, or lies at an end of `slots`;
    - it is too long for a page;
    - an answer of this pass covered it and a slot on each side: a bridge would prove no more.

    Args:
        unresolved: Slots that are still missing.
        confirmed: Slots that are confirmed to have no candle.
        answered: Slots that answers of this pass covered.
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

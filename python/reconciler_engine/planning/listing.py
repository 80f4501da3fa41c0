"""Settle slots from before a product was listed and after it was delisted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.rounding import ceil_to
from reconciler_engine.planning.ledger import Finding, Ledger, Reason, Rule, State


@dataclass(frozen=True, slots=True)
class Listing:
    """When a product can have candles.

    Attributes:
        listed_at: Instant of its listing (ms UTC); None if unknown.
        delisted_at: Instant from which it is known to be delisted (ms UTC); None while it trades.
    """

    listed_at: int | None = None
    delisted_at: int | None = None


def apply_listing(ledger: Ledger, listing: Listing, slots: Intervals, step: int, at: int) -> Ledger:
    """Return the ledger with slots outside the listing set to `unlisted`; slots inside it lose that state.

    The bars of the listing and of the delisting lie inside: both may hold trades.

    Args:
        ledger: Findings so far.
        listing: The exchange's dates of the product.
        slots: The slots to look at, on the grid.
        step: The grid's step (ms).
        at: When the exchange reported the listing (ms UTC).
    """
    if not slots:
        return ledger
    start, stop = slots.hull.start, slots.hull.stop
    first = start if listing.listed_at is None else listing.listed_at // step * step
    last = stop if listing.delisted_at is None else ceil_to(listing.delisted_at, step)
    before = slots & Interval(start, max(first, start))
    after = (slots & Interval(min(last, stop), stop)) - before
    for where, rule in (
        (before, _outside(Reason.NOT_YET_LISTED, at)),
        (after, _outside(Reason.DELISTED, at)),
        (slots - before - after, _inside),
    ):
        ledger = ledger.revise(where, rule)
    return ledger


def _outside(reason: Reason, at: int) -> Rule:
    def rule(known: Finding | None) -> Finding | None:
        if known is not None and known.reason in (reason, Reason.BY_HAND):
            return known
        return Finding(State.UNLISTED, reason, at, at, 1, None)

    return rule


def _inside(known: Finding | None) -> Finding | None:
    wrong = known is not None and known.reason in (Reason.NOT_YET_LISTED, Reason.DELISTED)
    return None if wrong else known

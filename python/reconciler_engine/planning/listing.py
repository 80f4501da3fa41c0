"""Times at which a product can have candles, and the slots that this settles. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.rounding import ceil_to
from reconciler_engine.planning.ledger import Finding, Ledger, Reason, Rule, State


@dataclass(frozen=True, slots=True)
class Listing:
    """When a product can have candles.

    Attributes:
        listed_at: Since when it is listed (ms UTC); None if unknown.
        delisted_at: Since when it is known to be delisted; None while it trades.
    """

    listed_at: int | None = None
    delisted_at: int | None = None


def apply_listing(ledger: Ledger, listing: Listing, slots: Intervals, step: int, at: int) -> Ledger:
    """Return the ledger with those of some slots that lie outside a listing as `unlisted`, and only those.

    The bar in which a product was listed may hold trades, and so may the one in which it was delisted.

    Args:
        ledger: Findings so far.
        listing: The exchange's dates of the product.
        slots: The slots to look at, on the grid.
        step: The grid's step (ms).
        at: When the exchange said so (ms UTC).
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

"""Listings: since when products trade, until when, and the slots that this settles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from reconciler_engine.coinbase.products import Product
from reconciler_engine.market.interval import Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.ledger import Ledger, State
from reconciler_engine.planning.listing import Listing, apply_listing
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.retention import Retention


@dataclass(frozen=True, slots=True)
class Listings:
    """Knowledge of products.

    Attributes:
        by_symbol: When a product can have candles; one that is not in it always can, as far as is known.
        books: By alias the product whose book it shows.
    """

    by_symbol: Mapping[str, Listing] = field(default_factory=dict)
    books: Mapping[str, str] = field(default_factory=dict)

    def delisted_at(self, symbol: str) -> int | None:
        """Return since when a product is known to be delisted (ms UTC); None while it trades, as far as is known."""
        return self.by_symbol.get(symbol, Listing()).delisted_at


def updated(known: Listings, products: Iterable[Product], now: int) -> Listings:
    """Return the knowledge after the exchange listed its products at `now` (ms UTC).

    The exchange says when a product was listed only as long as it is new, and never when it was delisted: that counts
    from the first list that says so. Products that a list does not name stay as they were.
    """
    by_symbol, books = dict(known.by_symbol), dict(known.books)
    for product in products:
        before = by_symbol.pop(product.symbol, Listing())
        delisted_at = None
        if product.is_delisted:
            delisted_at = now if before.delisted_at is None else before.delisted_at
        listing = Listing(before.listed_at if product.listed_at is None else product.listed_at, delisted_at)
        if listing != Listing():
            by_symbol[product.symbol] = listing
        books.pop(product.symbol, None)
        if product.alias_of is not None:
            books[product.symbol] = product.alias_of
    return Listings(by_symbol, books)


async def note_listing(
    evidence: EvidenceStore,
    series: Series,
    absent: Intervals,
    ledger: Ledger,
    listing: Listing,
    now: int,
    retention: Retention | None,
) -> Ledger:
    """Settle slots without a candle by a product's listing too, write the new findings, and return the ledger.

    Args:
        evidence: Where it is written.
        series: Series of the slots.
        absent: The slots, on the grid.
        ledger: Findings on them so far.
        listing: When the product can have candles.
        now: The instant (ms UTC).
        retention: Bounds on the candles that the cache keeps; None to write nothing.

    Raises:
        StoreError: It could not be written.
    """
    is_unlisted = any(one.finding.state is State.UNLISTED for one in ledger.findings)
    if not absent or (listing == Listing() and not is_unlisted):
        return ledger
    change = partial(apply_listing, listing=listing, slots=absent, step=series.timeframe.step_ms, at=now)
    noted = change(ledger)
    if noted != ledger and retention is not None:
        await evidence.change(series, absent.hull, retention, lambda known: known._replace(ledger=change(known.ledger)))
    return noted

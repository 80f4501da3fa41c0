"""Listings: the times between which products trade, and the slots outside them, which are settled."""

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
        by_symbol: Time in which each product can have candles; a product not listed here has no known limit.
        books: For each alias, the product whose order book it shows.
    """

    by_symbol: Mapping[str, Listing] = field(default_factory=dict)
    books: Mapping[str, str] = field(default_factory=dict)

    def delisted_at(self, symbol: str) -> int | None:
        """Return the instant from which a product is known to be delisted (ms UTC); None if it is not."""
        return self.by_symbol.get(symbol, Listing()).delisted_at


def updated(known: Listings, products: Iterable[Product], now: int) -> Listings:
    """Return the knowledge after the exchange listed its products at `now` (ms UTC).

    The exchange tells a listing date only while a product is new, and no delisting date: a product counts as delisted
    from the first list that says so. Products missing from a list keep their state.
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
    """Settle slots without a candle that lie outside a product's listing; write the findings and return the ledger.

    Args:
        evidence: Store to write to.
        series: Series of the slots.
        absent: The slots, on the grid.
        ledger: Findings on these slots so far.
        listing: When the product can have candles.
        now: The instant (ms UTC).
        retention: Bounds on the candles that the cache keeps; None to write nothing.

    Raises:
        StoreError: Redis failed or refused the write.
    """
    is_unlisted = any(one.finding.state is State.UNLISTED for one in ledger.findings)
    if not absent or (listing == Listing() and not is_unlisted):
        return ledger
    change = partial(apply_listing, listing=listing, slots=absent, step=series.timeframe.step_ms, at=now)
    noted = change(ledger)
    if noted != ledger and retention is not None:
        await evidence.change(series, absent.hull, retention, lambda known: known._replace(ledger=change(known.ledger)))
    return noted

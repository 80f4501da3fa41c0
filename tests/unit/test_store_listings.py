"""Knowledge about products from the exchange's lists, one after the other."""

from __future__ import annotations

from reconciler_engine.coinbase.products import Product
from reconciler_engine.planning.listing import Listing
from reconciler_engine.store.listings import Listings, updated

HOUR = 3_600_000


def product(symbol: str, **facts) -> Product:
    return Product(symbol, "USD", tradable=True, quote_volume=None, **facts)


def test_a_listing_stays_known_after_the_exchange_stops_telling_it():
    first = updated(Listings(), [product("JUP-USD", listed_at=HOUR), product("BTC-USD")], 2 * HOUR)
    assert first.by_symbol == {"JUP-USD": Listing(listed_at=HOUR)}
    assert updated(first, [product("JUP-USD"), product("BTC-USD")], 3 * HOUR) == first
    assert updated(first, [product("BTC-USD")], 3 * HOUR) == first


def test_a_product_is_delisted_from_the_first_list_that_says_so_until_one_does_not():
    gone = updated(Listings(), [product("OMG-USD", is_delisted=True)], HOUR)
    assert gone.by_symbol == {"OMG-USD": Listing(delisted_at=HOUR)}
    assert updated(gone, [product("OMG-USD", is_delisted=True)], 2 * HOUR) == gone
    assert updated(gone, [product("OMG-USD")], 3 * HOUR) == Listings()


def test_an_alias_names_its_book_as_long_as_it_is_one():
    known = updated(Listings(), [product("BTC-USDC", alias_of="BTC-USD")], HOUR)
    assert known.books == {"BTC-USDC": "BTC-USD"}
    assert updated(known, [product("BTC-USDC")], 2 * HOUR).books == {}

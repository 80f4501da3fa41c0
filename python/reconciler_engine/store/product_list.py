"""The exchange's product list in Redis, in one record. It is used to choose symbols and to judge slots."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from reconciler_engine.coinbase.products import Product
from reconciler_engine.market.series import check_symbol
from reconciler_engine.observe.obstacles import NOT_LISTED, Obstacle
from reconciler_engine.planning.listing import Listing
from reconciler_engine.store.client.reply_shapes import MOST_MS, optional_bytes, understanding
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.listings import Listings, updated
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.turns import Turn

KEPT_LIMIT = 20_000
"""Most products kept, about 40 bytes each; the rest of a longer list is dropped. The exchange has about 950 (2026)."""

KEPT_S = 30 * 86_400
"""Life of a list. The volumes in an older one are too outdated to choose symbols by."""

_T = TypeVar("_T", bound=BaseModel)
_Instant = Annotated[int, Field(ge=0, le=MOST_MS)]
_Symbol = Annotated[str, AfterValidator(check_symbol)]
_Rows = dict[_Symbol, tuple[_Instant | None, _Instant | None, _Symbol | None]]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProductList:
    """The exchange's products as of an instant.

    Attributes:
        at: When the exchange gave the list (ms UTC); 0 where none is kept.
        products: Products in the list.
        listings: When products were listed and delisted, as learnt from this and earlier lists.
    """

    at: int = 0
    products: tuple[Product, ...] = ()
    listings: Listings = field(default_factory=Listings)

    def why_absent(self, symbol: str) -> str | None:
        """Return why a product has no newer bars; None if it trades or if no list is kept."""
        if self.listings.delisted_at(symbol) is not None:
            return Obstacle.DELISTED
        return NOT_LISTED if self.products and all(one.symbol != symbol for one in self.products) else None


class _OldListings(BaseModel):
    """The record of listings that older engines wrote under a key of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: _Rows = {}


class _Kept(BaseModel):
    """The record in Redis.

    `products` holds the symbol, quote, tradable flag and quote volume of each product. `listings` holds by symbol when
    it was listed, when it was found delisted, and its book; symbols without any of the three are left out. It is None
    in a record of an older engine, which kept listings under another key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: _Instant = 0
    products: Annotated[tuple[tuple[_Symbol, str, bool, float | None], ...], Field(max_length=KEPT_LIMIT)] = ()
    listings: _Rows | None = None


class ProductListStore:
    """The product list of one scope. The caller closes the client.

    Attributes:
        turn: Turn to request a new list from the exchange.
    """

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._key = scope.key("products")
        self._old_key = scope.key("listings")
        self.turn = Turn(client, scope, "products")

    async def read(self) -> ProductList:
        """Return the stored list; an empty one if there is none, or if it is malformed (logged).

        Raises:
            StoreError: Redis did not answer.
        """
        reply = await self._client.execute_command("MGET", self._key, self._old_key)
        with understanding("the product list"):
            body, old = map(optional_bytes, reply)
        kept = _read(_Kept, body) or _Kept()
        rows = kept.listings
        if rows is None:
            rows = (_read(_OldListings, old) or _OldListings()).products
        return ProductList(kept.at, tuple(Product(*row) for row in kept.products), _listings_of(rows))

    async def listings(self) -> Listings:
        """Return the known listings.

        Raises:
            StoreError: Redis did not answer.
        """
        return (await self.read()).listings

    async def keep(self, products: Iterable[Product], at: int) -> None:
        """Store a list that the exchange returned at `at` (ms UTC), and update the known listings by it.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        listed = tuple(products)
        known = updated(await self.listings(), listed, at)
        rows = tuple((one.symbol, one.quote, one.tradable, one.quote_volume) for one in listed[:KEPT_LIMIT])
        body = _Kept(at=at, products=rows, listings=_rows_of(known)).model_dump_json()
        await self._client.execute_command("SET", self._key, body, "EX", KEPT_S)
        await self._client.execute_command("DEL", self._old_key)


def _read(kind: type[_T], body: bytes | None) -> _T | None:
    if body is None:
        return None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        _logger.warning("the product list in Redis is none", extra={"faults": error.error_count()})
        return None


def _listings_of(rows: dict[str, tuple[int | None, int | None, str | None]]) -> Listings:
    return Listings(
        {name: Listing(since, until) for name, (since, until, _) in rows.items() if (since, until) != (None, None)},
        {name: book for name, (_, _, book) in rows.items() if book is not None},
    )


def _rows_of(known: Listings) -> dict[str, tuple[int | None, int | None, str | None]]:
    rows = {}
    for name in sorted({*known.by_symbol, *known.books})[:KEPT_LIMIT]:
        listing = known.by_symbol.get(name, Listing())
        rows[name] = (listing.listed_at, listing.delisted_at, known.books.get(name))
    return rows

"""Parses the exchange's product list. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from reconciler_engine.coinbase.wire import read_list
from reconciler_engine.errors import BadResponse
from reconciler_engine.market.series import check_symbol

PRODUCTS_PATH = "/api/v3/brokerage/market/products"
SPOT, FUTURE = "SPOT", "FUTURE"
"""Kinds of products, each with its own list; perpetuals are in the list of futures (documented: List Products)."""

_DECIMAL = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")
_CLOSED = ("trading_disabled", "is_disabled", "view_only")


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the exchange.

    Attributes:
        symbol: Product id.
        quote: Currency of its prices; empty for futures, so that `all:` and `top:` selectors never choose them.
        tradable: Whether it trades now; a product that does not may still have candles.
        quote_volume: Approximate volume of the last 24 hours, in `quote`; None if the exchange does not state it.
        listed_at: Instant of its listing (ms UTC); None unless the exchange calls the product new.
        is_delisted: Whether its trading has ended for good.
        alias_of: Symbol of the product whose order book it shows, or None.
    """

    symbol: str
    quote: str
    tradable: bool
    quote_volume: float | None
    listed_at: int | None = None
    is_delisted: bool = False
    alias_of: str | None = None


def parse_products(body: bytes, *, may_be_empty: bool = False) -> tuple[Product, ...]:
    """Parse the answer of `PRODUCTS_PATH`; keeps its order, and leaves out rows without an allowed product id.

    Raises:
        BadResponse: The answer is not a list, has rows but no usable one, or is empty without `may_be_empty`.
        SourceUnavailable: The answer is an HTML page.
    """
    rows = read_list(body, "products")
    products = {product.symbol: product for row in rows if (product := _product(row)) is not None}
    if not products and (rows or not may_be_empty):
        raise BadResponse(f"no product in a list of {len(rows)}")
    return tuple(products.values())


def _product(row: object) -> Product | None:
    fields = cast("dict[str, object]", row) if isinstance(row, dict) else {}
    symbol = _symbol(fields.get("product_id"))
    if symbol is None:
        return None
    volume = fields.get("approximate_quote_24h_volume")
    return Product(
        symbol=symbol,
        quote=_quote(fields, symbol),
        # The status of futures is empty.
        tradable=fields.get("status") in ("online", "") and not any(fields.get(flag) is True for flag in _CLOSED),
        quote_volume=float(volume) if isinstance(volume, str) and _DECIMAL.fullmatch(volume) else None,
        # Ignore the date unless `new` is true: it was seen on a product that was years old.
        listed_at=_instant(fields.get("new_at")) if fields.get("new") is True else None,
        is_delisted=fields.get("status") == "delisted",
        alias_of=_symbol(fields.get("alias")),
    )


def _quote(fields: Mapping[str, object], symbol: str) -> str:
    if fields.get("product_type") == FUTURE:
        return ""
    quote = fields.get("quote_currency_id")
    # The exchange sends an empty text for an unset field.
    return quote if isinstance(quote, str) and quote else symbol.rpartition("-")[2]


def _instant(value: object) -> int | None:
    """Return the instant (ms UTC) of an RFC 3339 time, or None if the value is not such a time."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None:
        return None
    return max(int(moment.timestamp() * 1_000), 0)


def _symbol(value: object) -> str | None:
    try:
        return check_symbol(value) if isinstance(value, str) else None
    except ValueError:
        return None

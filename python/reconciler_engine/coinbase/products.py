"""The exchange's products, and the ways to choose among them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import cast

from reconciler_engine.coinbase.refusals import excerpt
from reconciler_engine.coinbase.wire import read_object
from reconciler_engine.errors import BadResponse, ConfigError
from reconciler_engine.market.series import check_symbol

PRODUCTS_PATH = "/api/v3/brokerage/market/products"
PRODUCTS_QUERY = {"product_type": "SPOT"}

_DECIMAL = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")
_SELECTOR = re.compile(r"all:(?P<all>[A-Z0-9]{1,20})|top:(?P<count>[1-9][0-9]{0,4}):(?P<top>[A-Z0-9]{1,20})")
_DOLLARS = ("USD", "USDC", "USDT")
_CLOSED = ("trading_disabled", "is_disabled", "view_only")
# A search costs some 10 ms a symbol.
_NEAR_SEARCHES = 20
_FORMS = "allowed: a product id such as BTC-USD, all:QUOTE such as all:USD, top:COUNT:QUOTE such as top:20:USD"


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the exchange.

    Attributes:
        symbol: Product id.
        quote: Currency its prices are in.
        tradable: Whether it trades now; one that does not may still have a history.
        quote_volume: Traded in the last 24 hours, in `quote`, about; None where the exchange does not say.
        listed_at: Since when it is listed (ms UTC); the exchange says so of new products only.
        is_delisted: Whether it trades no more, for good.
        alias_of: The product whose book this one shows, or None.
    """

    symbol: str
    quote: str
    tradable: bool
    quote_volume: float | None
    listed_at: int | None = None
    is_delisted: bool = False
    alias_of: str | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """A choice of products: one by its symbol, or the tradable ones of a quote currency, all or the most traded.

    Attributes:
        symbol: The one product, or None.
        quote: The quote currency; empty with a symbol.
        count: How many of the most traded; None for all.
    """

    symbol: str | None = None
    quote: str = ""
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Return the selector written as `BTC-USD`, `all:USD` or `top:20:USD`; asks nobody.

        Raises:
            ValueError: `text` is none of these.
        """
        if ":" in text:
            found = _SELECTOR.fullmatch(text)
            if found is None:
                raise ValueError(f"symbols {text[:80]!r} is no choice of products; {_FORMS}")
            if found["all"]:
                return cls(quote=found["all"])
            return cls(quote=found["top"], count=int(found["count"]))
        return cls(symbol=check_symbol(text))


def parse_products(body: bytes) -> tuple[Product, ...]:
    """Read the answer of `PRODUCTS_PATH`, in its order.

    Products whose id is not of the form this engine can ask for and keep are left out.

    Raises:
        BadResponse: The answer is no list of products, or an empty one.
        SourceUnavailable: It is an HTML page.
    """
    rows = read_object(body).get("products")
    if not isinstance(rows, list):
        raise BadResponse(f"no list of products: {excerpt(body)}")
    products = {product.symbol: product for row in rows if (product := _product(row)) is not None}
    if not products:
        raise BadResponse(f"no product in a list of {len(rows)}")
    return tuple(products.values())


def choose(selectors: Iterable[Selector], products: Sequence[Product]) -> tuple[str, ...]:
    """Return the symbols that `selectors` mean, in their order, the most traded first, each once.

    Raises:
        ConfigError: A symbol is unknown (with near matches), or nothing tradable has a selector's quote currency. All
            faults at once.
    """
    known = {product.symbol for product in products}
    chosen: dict[str, None] = {}
    faults: list[str] = []
    for selector in selectors:
        if selector.symbol is None:
            found = _matching(selector, products)
            chosen.update(dict.fromkeys(found))
            if not found:
                quotes = ", ".join(sorted({product.quote for product in products if product.tradable})[:20])
                faults.append(f"symbols: nothing tradable is quoted in {selector.quote}; quotes: {quotes}")
        elif selector.symbol in known:
            chosen[selector.symbol] = None
        else:
            near = near_matches(selector.symbol, products) if len(faults) < _NEAR_SEARCHES else []
            hint = f"; near: {', '.join(near)}" if near else ""
            faults.append(f"symbol {selector.symbol} is no product of the exchange{hint}")
    if faults:
        raise ConfigError(faults)
    return tuple(chosen)


def most_traded_beside(symbol: str, products: Iterable[Product], books: Mapping[str, str]) -> str | None:
    """Return the product with the greatest turnover whose book `symbol` does not show; None where the list has none.

    Turnovers in dollars are compared, since those in other quotes would need a rate.

    Args:
        symbol: A product.
        products: The exchange's products.
        books: Products whose book other products show, by those.
    """
    own = books.get(symbol, symbol)
    dollars = [one for one in products if one.tradable and one.quote in _DOLLARS]
    ranked = sorted(dollars, key=lambda one: (-(one.quote_volume or 0), one.symbol))
    return next((one.symbol for one in ranked if books.get(one.symbol, one.symbol) != own), None)


def near_matches(symbol: str, products: Iterable[Product]) -> list[str]:
    """Return up to three symbols that may have been meant, the nearest first."""
    return get_close_matches(symbol, [product.symbol for product in products], n=3, cutoff=0.7)


def _matching(selector: Selector, products: Iterable[Product]) -> list[str]:
    matching = [product for product in products if product.tradable and product.quote == selector.quote]
    matching.sort(key=lambda product: (-(product.quote_volume or 0.0), product.symbol))
    return [product.symbol for product in matching[: selector.count]]


def _product(row: object) -> Product | None:
    if not isinstance(row, dict):
        raise BadResponse(f"product is a {type(row).__name__}, not an object")
    fields = cast("dict[str, object]", row)
    symbol = fields.get("product_id")
    if not isinstance(symbol, str):
        raise BadResponse(f"product_id {excerpt(repr(symbol))} is no text")
    try:
        check_symbol(symbol)
    except ValueError:
        return None
    quote = fields.get("quote_currency_id")
    volume = fields.get("approximate_quote_24h_volume")
    return Product(
        symbol=symbol,
        # Unset texts are empty.
        quote=quote if isinstance(quote, str) and quote else symbol.rpartition("-")[2],
        # Futures leave their status empty.
        tradable=fields.get("status") in ("online", "") and not any(fields.get(flag) is True for flag in _CLOSED),
        quote_volume=float(volume) if isinstance(volume, str) and _DECIMAL.fullmatch(volume) else None,
        # A date without the tag is no promise: one has been seen on a product that was years old.
        listed_at=_instant(fields.get("new_at")) if fields.get("new") is True else None,
        is_delisted=fields.get("status") == "delisted",
        alias_of=_symbol(fields.get("alias")),
    )


def _instant(value: object) -> int | None:
    """Return the instant (ms UTC) of an RFC 3339 time, or None where it is none."""
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

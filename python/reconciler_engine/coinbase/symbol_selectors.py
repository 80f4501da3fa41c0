"""Selectors of symbols: one product, all products of a quote currency, or the most traded of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from reconciler_engine.coinbase.products import Product
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.series import check_symbol

_DOLLARS = ("USD", "USDC", "USDT")
_SELECTOR = re.compile(r"all:(?P<all>[A-Z0-9]{1,20})|top:(?P<count>[1-9][0-9]{0,4}):(?P<top>[A-Z0-9]{1,20})")
# A search takes about 10 ms for each symbol.
_NEAR_SEARCHES = 20
_FORMS = "allowed: a product id such as BTC-USD, all:QUOTE such as all:USD, top:COUNT:QUOTE such as top:20:USD"


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects one product by its symbol, or the tradable products of a quote currency: all, or the most traded.

    Attributes:
        symbol: Symbol of the one product; None to select by quote currency.
        quote: The quote currency; empty if `symbol` is set.
        count: Number of the most traded products to select; None for all products.
    """

    symbol: str | None = None
    quote: str = ""
    count: int | None = None

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Parse a selector such as `BTC-USD`, `all:USD` or `top:20:USD`; does not check that the products exist.

        Raises:
            ValueError: `text` has another form.
        """
        if ":" in text:
            found = _SELECTOR.fullmatch(text)
            if found is None:
                raise ValueError(f"symbols {text[:80]!r} is not a choice of products; {_FORMS}")
            if found["all"]:
                return cls(quote=found["all"])
            return cls(quote=found["top"], count=int(found["count"]))
        return cls(symbol=check_symbol(text))


@dataclass(frozen=True, slots=True)
class Choice:
    """The result of applying selectors to the product list.

    Attributes:
        symbols: Selected symbols, each once.
        unknown: By symbol, an error message for each symbol that is not a product of the exchange.
        faults: Error messages for selectors that select nothing.
    """

    symbols: tuple[str, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)
    faults: Sequence[str] = ()


def choose(selectors: Iterable[Selector], products: Sequence[Product]) -> tuple[str, ...]:
    """Return the selected symbols, each once, in the order of the selectors; within a selector, the most traded first.

    Raises:
        ConfigError: A symbol is unknown, or no tradable product has a selector's quote currency; lists all mistakes,
            with similar symbols.
    """
    choice = look_up(selectors, products)
    if choice.unknown or choice.faults:
        raise ConfigError([*choice.unknown.values(), *choice.faults])
    return choice.symbols


def look_up(selectors: Iterable[Selector], products: Sequence[Product]) -> Choice:
    """Apply selectors to the product list, in the order that `choose` describes; mistakes are part of the result."""
    known = {product.symbol for product in products}
    chosen: dict[str, None] = {}
    unknown: dict[str, str] = {}
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
            near = near_matches(selector.symbol, products) if len(unknown) < _NEAR_SEARCHES else []
            hint = f"; near: {', '.join(near)}" if near else ""
            unknown[selector.symbol] = f"symbol {selector.symbol} is not a product of the exchange{hint}"
    return Choice(tuple(chosen), unknown, faults)


def near_matches(symbol: str, products: Iterable[Product]) -> list[str]:
    """Return up to three symbols that are similar to `symbol`, the most similar first."""
    return get_close_matches(symbol, [product.symbol for product in products], n=3, cutoff=0.7)


def _matching(selector: Selector, products: Iterable[Product]) -> list[str]:
    matching = [product for product in products if product.tradable and product.quote == selector.quote]
    matching.sort(key=lambda product: (-(product.quote_volume or 0.0), product.symbol))
    return [product.symbol for product in matching[: selector.count]]


def most_traded_beside(symbol: str, products: Iterable[Product], books: Mapping[str, str]) -> str | None:
    """Return the symbol of the most traded product with another order book than `symbol`, or None if there is none.

    Only products quoted in dollars are compared; other quote currencies would need an exchange rate.

    Args:
        symbol: Symbol of a product.
        products: The exchange's products.
        books: By symbol of an alias, the symbol of the product whose order book it shows.
    """
    own = books.get(symbol, symbol)
    dollars = [one for one in products if one.tradable and one.quote in _DOLLARS]
    ranked = sorted(dollars, key=lambda one: (-(one.quote_volume or 0), one.symbol))
    return next((one.symbol for one in ranked if books.get(one.symbol, one.symbol) != own), None)

"""Choices of symbols: one product, all that trade against a quote, or the most traded of them. Pure."""

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
# A search costs some 10 ms a symbol.
_NEAR_SEARCHES = 20
_FORMS = "allowed: a product id such as BTC-USD, all:QUOTE such as all:USD, top:COUNT:QUOTE such as top:20:USD"


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
                raise ValueError(f"symbols {text[:80]!r} is not a choice of products; {_FORMS}")
            if found["all"]:
                return cls(quote=found["all"])
            return cls(quote=found["top"], count=int(found["count"]))
        return cls(symbol=check_symbol(text))


@dataclass(frozen=True, slots=True)
class Choice:
    """The products that selectors mean.

    Attributes:
        symbols: Symbols chosen, each once.
        unknown: A sentence on each symbol that is not a product of the exchange, by the symbol.
        faults: Sentences on selectors that find nothing.
    """

    symbols: tuple[str, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)
    faults: Sequence[str] = ()


def choose(selectors: Iterable[Selector], products: Sequence[Product]) -> tuple[str, ...]:
    """Return the symbols that `selectors` mean, in their order, the most traded first, each once.

    Raises:
        ConfigError: A symbol is unknown (with near matches), or nothing tradable has a selector's quote currency. All
            faults at once.
    """
    choice = look_up(selectors, products)
    if choice.unknown or choice.faults:
        raise ConfigError([*choice.unknown.values(), *choice.faults])
    return choice.symbols


def look_up(selectors: Iterable[Selector], products: Sequence[Product]) -> Choice:
    """Return the choice that `selectors` mean, in their order, the most traded first."""
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
    """Return up to three symbols that may have been meant, the nearest first."""
    return get_close_matches(symbol, [product.symbol for product in products], n=3, cutoff=0.7)


def _matching(selector: Selector, products: Iterable[Product]) -> list[str]:
    matching = [product for product in products if product.tradable and product.quote == selector.quote]
    matching.sort(key=lambda product: (-(product.quote_volume or 0.0), product.symbol))
    return [product.symbol for product in matching[: selector.count]]


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

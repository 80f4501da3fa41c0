"""The product endpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.api_response import ApiResponse, give_json, refuse_integer, refuse_product
from reconciler_engine.simulator.prices.listed_products import ListedProduct, write_product
from reconciler_engine.simulator.prices.market import Market
from reconciler_engine.simulator.rules.general_endpoints import last_bar

_DAY_MS = 86_400_000
_INTEGER_DIGITS = 9


def answer_product(market: Market, symbol: str, now: int) -> ApiResponse:
    """Answer a question for one product at `now` (ms UTC)."""
    product = market.products.get(symbol)
    if product is None:
        return refuse_product(symbol)
    return give_json(_write(market, product, now))


def answer_products(market: Market, values: Mapping[str, Sequence[str]], now: int) -> ApiResponse:
    """Answer a question for the product list at `now` (ms UTC).

    Knows `limit`, `offset`, `product_type` (SPOT without one) and repeated `product_ids`.
    """
    bounds = {"limit": 0, "offset": 0}
    for name in bounds:
        text = values.get(name, [""])[0]
        if text and not (text.isascii() and text.isdigit() and len(text) <= _INTEGER_DIGITS):
            return refuse_integer(name, text)
        bounds[name] = int(text or 0)
    kind = values.get("product_type", [""])[0]
    kind = "SPOT" if kind in {"", "UNKNOWN_PRODUCT_TYPE"} else kind
    wanted = values.get("product_ids")
    chosen = [
        product
        for product in market.products.values()
        if (wanted is None or product.symbol in wanted) and product.product_type == kind
    ]
    page = chosen[bounds["offset"] :]
    page = page[: bounds["limit"]] if bounds["limit"] else page
    written = ",".join(_write(market, product, now) for product in page)
    more = json.dumps({"prev_cursor": "", "next_cursor": "", "has_next": len(page) < len(chosen), "has_prev": False})
    return give_json(f'{{"products":[{written}],"num_products":{len(page)},"pagination":{more}}}')


def _write(market: Market, product: ListedProduct, now: int) -> str:
    step = Timeframe.H1.step_ms
    day = market.bars(product.symbol, Timeframe.H1, Interval(now - _DAY_MS - now % step, now), now)
    last = last_bar(market, product.symbol, now) or next(reversed(day), None)
    aliases = tuple(other.symbol for other in market.products.values() if other.alias_of == product.symbol)
    volume = format(sum((Decimal(bar.volume) for bar in day), Decimal()), "f") if day else "0"
    return write_product(product, aliases, last.close if last else "", volume, now)

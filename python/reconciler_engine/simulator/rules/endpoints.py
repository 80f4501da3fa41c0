"""The product endpoints, and the time, currency, rate and ticker endpoints that general client libraries call.

Time, currencies and rates have the shape of the older API (Coinbase App: Get Time, Get Currencies, Get Exchange Rates),
tickers the shape of Get Public Market Trades.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.api_response import ApiResponse, give_json, refuse_integer, refuse_product
from reconciler_engine.simulator.prices.listed_products import ListedProduct, write_product, write_time
from reconciler_engine.simulator.prices.market import Bar, Market

_DAYS_BACK_MS = 10 * 86_400_000


def answer_general(market: Market, path: str, now: int) -> ApiResponse:
    """Answer a request to the older API at `now` (ms UTC); `path` is the part after `/v2/`."""
    match path:
        case "time":
            return _give({"iso": write_time(now), "epoch": now // 1_000})
        case "currencies":
            quotes = sorted({symbol.rpartition("-")[2] for symbol in _spot(market)})
            return _give([{"id": name, "name": name, "min_size": "0.01"} for name in quotes])
        case "currencies/crypto":
            names = sorted({symbol.partition("-")[0] for symbol in _spot(market)})
            more = {"exponent": 8, "type": "crypto"}
            return _give([{"asset_id": f"asset-{name}", "code": name, "name": name, **more} for name in names])
        case _:
            return _give({"currency": "USD", "rates": {"USD": "1", **_rates(market, now)}})


def answer_ticker(market: Market, symbol: str, now: int) -> ApiResponse:
    """Answer a request for the last trade of a product at `now` (ms UTC)."""
    if symbol not in market.products:
        return refuse_product(symbol)
    last = last_bar(market, symbol, now)
    if last is None:
        return give_json('{"trades":[],"best_bid":"","best_ask":""}')
    trade = {
        "trade_id": str(now // 1_000),
        "product_id": symbol,
        "price": last.close,
        "size": "0.0001",
        "time": write_time(now),
        "side": "BUY",
        "bid": "",
        "ask": "",
        "exchange": "coinbase",
    }
    return give_json(json.dumps({"trades": [trade], "best_bid": last.close, "best_ask": last.close}))


def last_bar(market: Market, symbol: str, now: int) -> Bar | None:
    """Return a product's newest daily bar at `now` (ms UTC), or None if it had no trades in the last ten days."""
    window = Interval(max(0, now - _DAYS_BACK_MS), now)
    return next(reversed(market.bars(symbol, Timeframe.D1, window, now)), None)


def _give(data: object) -> ApiResponse:
    return give_json(json.dumps({"data": data}))


def _spot(market: Market) -> list[str]:
    return [one.symbol for one in market.products.values() if one.product_type == "SPOT"]


def _rates(market: Market, now: int) -> dict[str, str]:
    """Return, for each currency, the units that one dollar buys."""
    rates = {}
    for symbol in market.products:
        base, _, quote = symbol.rpartition("-")
        last = last_bar(market, symbol, now) if quote == "USD" else None
        if last is not None:
            rates[base] = f"{1 / float(last.close):.12g}"
    return rates


_DAY_MS = 86_400_000
_INTEGER_DIGITS = 9


def answer_product(market: Market, symbol: str, now: int) -> ApiResponse:
    """Answer a request for one product at `now` (ms UTC)."""
    product = market.products.get(symbol)
    if product is None:
        return refuse_product(symbol)
    return give_json(_write(market, product, now))


def answer_products(market: Market, values: Mapping[str, Sequence[str]], now: int) -> ApiResponse:
    """Answer a request for the product list at `now` (ms UTC).

    Supports `limit`, `offset`, `product_type` (default SPOT) and repeated `product_ids`.
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

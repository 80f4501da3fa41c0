"""A simulated exchange behind a port, with a client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
from tests.integration.plain_http import open_http

from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock

MIDNIGHT_S = 1_795_392_000
NOW_S = MIDNIGHT_S + 12 * 3600 + 150
PRODUCTS = (
    ListedProduct("BTC-USD", 65_000.0),
    ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False),
    ListedProduct("NEW-USD", 1.0, 4, listed=MIDNIGHT_S * 1000),
    ListedProduct("OLD-USD", 1.0, 4, delisted=MIDNIGHT_S * 1000),
    ListedProduct("BTC-USDC", 65_000.0, alias_of="BTC-USD"),
)
MARKET = SeededMarket(3, PRODUCTS)
FREE = ExchangeRules(public_rate=0, private_rate=0, cache_s=0)
CANDLES = "/market/products/BTC-USD/candles"


class Stopwatch:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Door:
    """A running exchange and a client at its door."""

    def __init__(self, exchange: Exchange, client: httpx.AsyncClient, watch: Stopwatch) -> None:
        self.exchange = exchange
        self.client = client
        self.watch = watch

    async def ask(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> httpx.Response:
        params = {name: str(value) for name, value in query.items()}
        return await self.client.get(path, params=params, headers=headers)

    async def starts(self, **query: Any) -> list[int]:
        answer = await self.ask(CANDLES, **query)
        assert answer.status_code == 200, answer.text
        return [int(row["start"]) for row in answer.json()["candles"]]


@asynccontextmanager
async def open_door(rules: ExchangeRules = FREE, now_s: int = NOW_S) -> AsyncIterator[Door]:
    watch = Stopwatch()
    exchange = Exchange(MARKET, SimulatedClock(now_s * 1000, rate=0), rules, read_s=watch)
    with trio.fail_after(20):
        async with (
            open_exchange(exchange) as url,
            open_http(f"{url}/api/v3/brokerage") as client,
        ):
            yield Door(exchange, client, watch)

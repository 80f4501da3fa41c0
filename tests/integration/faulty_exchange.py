"""A simulated exchange behind a port, with rules of faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
from tests.integration.plain_http import open_http

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.faults.file import parse_faults
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock

NOW_S = 1_795_435_350
MARKET = SeededMarket(3, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("ETH-USD", 3_000.0)])
FREE = ExchangeRules(public_rate=0, cache_s=0)
CANDLES = "/api/v3/brokerage/market/products/BTC-USD/candles"
TIME = "/api/v3/brokerage/time"
WINDOW: dict[str, str | int] = {"start": NOW_S - 1500, "end": NOW_S, "granularity": "FIVE_MINUTE"}


class Door:
    """A running exchange with faults, and a client."""

    def __init__(self, exchange: Exchange, client: httpx.AsyncClient) -> None:
        self.exchange = exchange
        self.client = client
        self.now_s = 0.0

    async def ask(self, path: str = CANDLES) -> httpx.Response:
        return await self.client.get(path, params=WINDOW if path == CANDLES else None)

    async def rows(self) -> list[dict[str, Any]]:
        answer = await self.ask()
        assert answer.status_code == 200
        rows: list[dict[str, Any]] = answer.json()["candles"]
        return rows

    @property
    def statuses(self) -> list[int]:
        return [record.status for record in self.exchange.log.records]


@asynccontextmanager
async def open_door(*tables: dict[str, Any], rules: ExchangeRules = FREE) -> AsyncIterator[Door]:
    exchange = Exchange(MARKET, SimulatedClock(NOW_S * 1000, rate=0), rules, read_s=lambda: door.now_s)
    with trio.fail_after(20):
        async with open_exchange(exchange) as url, open_http(url) as client:
            door = Door(exchange, client)
            right = await door.ask()
            assert len(right.json()["candles"]) == 5
            exchange.faults.set(parse_faults({"fault": list(tables)}))
            exchange.log.records.clear()
            yield door


RIGHT = [
    {
        "start": str(bar.start // 1000),
        "low": bar.low,
        "high": bar.high,
        "open": bar.open,
        "close": bar.close,
        "volume": bar.volume,
    }
    for bar in reversed(
        MARKET.bars("BTC-USD", Timeframe.M5, Interval((NOW_S - 1500) * 1000, NOW_S * 1000), NOW_S * 1000)
    )
]

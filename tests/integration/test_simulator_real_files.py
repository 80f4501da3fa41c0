"""The simulator over the real candle files: the exchange the repair of the page holes is proven against."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio
from tests.integration.plain_http import open_http

from reconciler_engine.archive.candle_file import read_candle_file
from reconciler_engine.simulator.rules.exchange import ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulation import SimulatorSettings, build_exchange

STEP_S = 300


async def test_recorded_bars_are_served_page_by_page_and_the_outage_stays_empty(
    market_data: Path, tmp_path: Path
) -> None:
    name = "BTC-USD_5m_20250701-20251031.csv.gz"
    shutil.copy(market_data / name, tmp_path)
    file = read_candle_file(market_data / name)
    exchange = build_exchange(SimulatorSettings(replay=tmp_path, rules=ExchangeRules(public_rate=0)))
    first, stop = file.starts[-4000] // 1000, file.starts[-1] // 1000 + STEP_S
    served: dict[int, str] = {}
    with trio.fail_after(60):
        async with open_exchange(exchange) as url, open_http(url) as client:
            for start in range(first, stop, 300 * STEP_S):
                end = min(stop, start + 300 * STEP_S) - 1
                answer = await client.get(
                    "/api/v3/brokerage/market/products/BTC-USD/candles",
                    params={"start": start, "end": end, "granularity": "FIVE_MINUTE"},
                )
                for row in answer.json()["candles"]:
                    values = (row["open"], row["high"], row["low"], row["close"], row["volume"])
                    served[int(row["start"]) * 1000] = ",".join(values)
    assert served == dict(zip(file.starts[-4000:], file.texts[-4000:], strict=True))
    # 4,000 bars and the 70 of 2025-10-25 that never were.
    assert (stop - first) // STEP_S - len(served) == 70


@pytest.mark.slow
def test_whole_folder_is_one_market(market_data: Path) -> None:
    exchange = build_exchange(SimulatorSettings(replay=market_data))
    assert len(exchange.market.products) == 7
    # SLP ends last: 2026-03-04 21:54.
    assert exchange.clock.now() == 1_772_661_300_000

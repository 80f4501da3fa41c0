"""Faults in the rows of an answer, and rules that change while the simulator runs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.integration.faulty_exchange import CANDLES, FREE, NOW_S, RIGHT, TIME, WINDOW, open_door
from tests.integration.plain_http import open_http

from reconciler_engine.simulator.faults.file import parse_faults
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulation import SimulatorSettings, build_exchange


@pytest.mark.parametrize(("shape", "content"), [("object", {}), ("null", {"candles": None}), ("list", [])])
async def test_other_documents(shape: str, content: object) -> None:
    async with open_door({"mode": "shape", "shape": shape}) as door:
        assert (await door.ask()).json() == content


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ("missing_field", {"close": ...}),
        ("null_field", {"close": None}),
        ("number", {"open": float(RIGHT[2]["open"])}),
        ("empty_text", {"high": ""}),
        ("nan", {"low": "NaN"}),
        ("infinity", {"high": "Infinity"}),
        ("long_digits", {"high": "9" * 60 + RIGHT[2]["high"]}),
        ("zero_price", {"low": "0"}),
        ("low_above_open", {"open": str(Decimal(RIGHT[2]["low"]) / 2)}),
        ("close_above_high", {"close": str(Decimal(RIGHT[2]["high"]) * 2)}),
        ("negative_volume", {"volume": f"-{RIGHT[2]['volume']}"}),
        ("unaligned", {"start": str(int(RIGHT[2]["start"]) + 1)}),
        ("unreadable_start", {"start": "soon"}),
    ],
)
async def test_wrong_field_in_one_row(shape: str, changes: dict[str, object]) -> None:
    wrong = {key: value for key, value in {**RIGHT[2], **changes}.items() if value is not ...}
    async with open_door({"mode": "shape", "shape": shape}) as door:
        assert await door.rows() == [*RIGHT[:2], wrong, *RIGHT[3:]]


async def test_high_below_low() -> None:
    async with open_door({"mode": "shape", "shape": "inverted"}) as door:
        row = (await door.rows())[2]
    assert float(row["high"]) < float(row["low"])


async def test_two_rows_of_one_slot() -> None:
    async with open_door({"mode": "shape", "shape": "twins"}) as door:
        rows = await door.rows()
        assert door.exchange.log.records[-1].rows == 6
    assert [*rows[:3], *rows[4:]] == RIGHT
    assert rows[3]["start"] == rows[2]["start"]
    assert rows[3] != rows[2]


@pytest.mark.parametrize(
    ("settings", "spoilt"),
    [
        ({}, [2]),
        ({"rows": 2}, [2, 3]),
        ({"rows": 9}, [0, 1, 2, 3, 4]),
        ({"nth": 2, "rows": 9}, [0, 2, 4]),
        ({"nth": 2, "rows": 2}, [0, 2]),
        ({"nth": 1_000_000}, []),
    ],
)
async def test_as_many_rows_are_spoilt_as_it_says(settings: dict[str, Any], spoilt: list[int]) -> None:
    async with open_door({"mode": "shape", "shape": "null_field", **settings}) as door:
        rows = await door.rows()
    assert [number for number, row in enumerate(rows) if row["close"] is None] == spoilt


def starts(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["start"]) for row in rows]


async def test_wrong_rows() -> None:
    newest = int(RIGHT[0]["start"])

    async def served(data: str, **settings: object) -> list[dict[str, Any]]:
        door.exchange.faults.set(parse_faults({"fault": [{"mode": "data", "data": data, **settings}]}))
        rows = await door.rows()
        assert door.exchange.log.records[-1].rows == len(rows)
        return rows

    async with open_door() as door:
        assert await served("empty") == []
        assert await served("duplicate") == [RIGHT[0], *RIGHT]
        conflict = await served("conflict")
        assert conflict[1:] == RIGHT
        assert conflict[0]["start"] == RIGHT[0]["start"]
        assert conflict[0] != RIGHT[0]
        shuffled = await served("shuffled")
        assert shuffled != RIGHT
        assert sorted(starts(shuffled), reverse=True) == starts(RIGHT)
        assert starts(await served("outside", rows=2)) == [*starts(RIGHT), newest - 1500, newest - 1800]
        assert len(await served("surplus")) == 400
        stale = await served("stale", seconds=60)
        assert stale[1:] == RIGHT[1:]
        assert float(stale[0]["volume"]) < float(RIGHT[0]["volume"])
        assert await served("stale", seconds=200) == RIGHT[1:]
        revised = await served("revised", rows=1)
        assert [row for row in revised if row not in RIGHT] == [revised[1]]
        assert revised[1]["start"] == RIGHT[1]["start"]
        # The open bar began 150 s ago: the one before it closed then.
        assert await served("late", seconds=150) == RIGHT[1:]
        assert await served("late", seconds=151) == RIGHT[2:]
        assert await served("thinned", nth=2) == [row for row in RIGHT if int(row["start"]) // 300 % 2]
        assert await served("thinned", nth=1) == []
        past = await served("past", seconds=300)
        assert past[1:] == RIGHT[2:]
        assert past[0]["start"] == RIGHT[1]["start"]
        assert float(past[0]["volume"]) < float(RIGHT[1]["volume"])
        assert all(start % 900 == 0 for start in starts(await served("granularity")))
        other = await served("product")
        assert starts(other) == starts(RIGHT)
        assert all(float(row["open"]) < 30_000 < float(right["open"]) for row, right in zip(other, RIGHT, strict=True))
        door.exchange.faults.set([])
        assert await door.rows() == RIGHT


@pytest.mark.parametrize("data", ["empty", "late", "thinned"])
async def test_withholding_may_be_of_one_product_and_one_timeframe(data: str) -> None:
    rule = {"mode": "data", "data": data, "seconds": 600, "product": "BTC-*", "granularity": "FIVE_MINUTE"}

    async def count(product: str, granularity: str) -> int:
        path = f"/api/v3/brokerage/market/products/{product}/candles"
        return len((await door.client.get(path, params={**WINDOW, "granularity": granularity})).json()["candles"])

    async with open_door(rule) as door:
        assert await count("BTC-USD", "FIVE_MINUTE") < 5
        assert [await count("ETH-USD", "FIVE_MINUTE"), await count("BTC-USD", "ONE_MINUTE")] == [5, 25]


async def test_data_faults_leave_refusals_alone() -> None:
    async with open_door({"mode": "data"}, {"name": "b", "mode": "gzip"}) as door:
        answer = await door.client.get(CANDLES, params={"granularity": "NO"})
        assert answer.status_code == 400
        assert answer.json()["error"] == "unknown"


async def test_outage_is_a_window_and_the_bars_are_there_afterwards() -> None:
    table = {"mode": "status", "status": 503, "from": (NOW_S - 10) * 1000, "until": (NOW_S + 10) * 1000}
    async with open_door(table) as door:
        assert (await door.ask()).status_code == 503
        door.exchange.clock.set((NOW_S + 10) * 1000)
        assert starts(await door.rows()) == starts(RIGHT)


async def test_running_simulator_is_set_over_http() -> None:
    async with open_door() as door:
        table = {"name": "x", "mode": "status", "path": "*/candles", "count": 1}
        answer = await door.client.put("/simulator/faults", json={"fault": [table]})
        assert answer.json() == {"fault": [{"name": "x", "mode": "status", "matched": 0, "played": 0}]}
        assert [(await door.ask()).status_code for _ in range(2)] == [500, 200]
        answer = await door.client.get("/simulator/faults")
        assert answer.json() == {"fault": [{"name": "x", "mode": "status", "matched": 2, "played": 1}]}

        answer = await door.client.put("/simulator/faults", json={"fault": [{"mode": "no"}]})
        assert answer.status_code == 400
        assert "mode 'no' is none of" in answer.json()["faults"][0]
        assert (await door.client.put("/simulator/faults", content=b"{")).status_code == 400

        assert (await door.client.put("/simulator/clock", json={"now_ms": 5_000})).json() == {"now_ms": 5_000}
        assert (await door.client.get("/simulator/clock")).json() == {"now_ms": 5_000}
        wrongs: list[object] = [{"now_ms": -1}, {"now_ms": True}, [], {}]
        for wrong in wrongs:
            assert (await door.client.put("/simulator/clock", json=wrong)).status_code == 400
        assert (await door.client.delete("/simulator/clock")).status_code == 405
        assert (await door.client.get("/simulator/other")).status_code == 404
        # Requests for the simulator's own paths are not counted as the exchange's.
        assert door.statuses == [500, 200]


async def test_faults_file_is_looked_at_before_each_request(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text("")
    exchange = build_exchange(SimulatorSettings(faults=path, rules=FREE))
    with trio.fail_after(20):
        async with open_exchange(exchange) as url, open_http(url) as client:
            assert (await client.get(TIME)).status_code == 200
            path.write_text('[[fault]]\nmode = "status"\nstatus = 502\n')
            assert (await client.get(TIME)).status_code == 502

"""Repair of a cache with real holes from an exchange that replays the truth; and its synthetic twin."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
import subprocess

import pytest
import trio

from reconciler_engine.archive.candle_file import read_candle_file
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.embedded.binary import ServerPlan, find_binary
from reconciler_engine.store.embedded.data_directory import DataDirectory
from reconciler_engine.store.embedded.socket_directory import socket_directory, socket_path

STEP = 300_000
TOTALS = ("missing", "filled", "confirmed_empty", "unresolved", "gaps_found", "gaps_filled")
HEADER = "start_ms,open,high,low,close,volume\n"


@pytest.fixture
def cached_members(tmp_path):
    """Read every member of the embedded server that lives in tmp_path/data, after the commands that used it."""

    def read() -> list[dict]:
        directory = DataDirectory(tmp_path / "data")
        plan = ServerPlan(find_binary(), directory.path, socket_path(socket_directory(directory.path)))
        server = subprocess.Popen(plan.arguments())
        try:
            return trio.run(_members, plan.url)
        finally:
            server.terminate()
            server.wait()

    return read


async def _members(url: str) -> list[dict]:
    async with TrioRedis.from_url(url) as client:
        await wait_serving(client, 30)
        (members,) = await client.pipe([("ZRANGE", "candles:1:1:BTC-USD:5m", 0, -1)])
        return [json.loads(member) for member in members]


def repair(run_inside, start_exchange, tmp_path, holes, truth, start, stop):
    """Load a file with holes, reconcile it against the truth; return the result of the pass and the request log."""
    replay = tmp_path / "replay"
    replay.mkdir()
    shutil.copy(truth, replay)
    exchange = start_exchange(replay=replay, public_rate=0)
    where = ("--data-dir", tmp_path / "data", "--max-candles", 0)
    loaded = run_inside("load", holes, *where, "--json")
    assert loaded.code == 0, loaded.err
    done = run_inside(
        "reconcile", "--symbols", "BTC-USD", "--timeframes", "5m", "--from", start, "--to", stop, *where,
        "--base-url", exchange.url, "--batch-size", 50, "--verify", "none", "--json",
    )  # fmt: skip
    return loaded, done, exchange.requests()


def check_requests(requests, expected):
    assert len(requests) == expected
    spans = sorted((int(one["start"]), int(one["end"])) for one in requests)
    assert all(end - start + 1 <= 300 * STEP // 1_000 for start, end in spans)
    # no slot is asked twice
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))


def test_the_real_page_holes_close_and_the_outage_is_confirmed(
    market_data, tmp_path, run_inside, start_exchange, cached_members
):
    holes = market_data / "BTC-USD_5m_20250916-20251031_pageholes.csv.gz"
    truth = market_data / "BTC-USD_5m_20250701-20251031.csv.gz"
    loaded, done, requests = repair(
        run_inside, start_exchange, tmp_path, holes, truth, "2025-09-16T21:55", "2025-10-31T23:55"
    )
    assert loaded.json["inserted"] == 12_872
    assert done.code == 0, done.err
    result = done.json
    assert {name: result[name] for name in TOTALS} == {
        "missing": 113, "filled": 43, "confirmed_empty": 70, "unresolved": 0, "gaps_found": 45, "gaps_filled": 43,
    }  # fmt: skip
    assert result["errors"] == []
    check_requests(requests, result["requests"])
    known = read_candle_file(truth)
    values = dict(zip(known.starts, known.texts, strict=True))
    members = cached_members()
    assert len(members) == 12_872 + 43
    for member in members:
        held = [float(member[name]) for name in ("open", "high", "low", "close", "volume")]
        assert held == [float(text) for text in values[member["timestamp"]].split(",")]


def test_synthetic_holes_close_and_what_never_was_is_confirmed(tmp_path, run_inside, start_exchange, cached_members):
    first = 1_767_225_600_000
    slots = 1_500
    outage = set(range(700, 710))
    holes = {*outage, 5, 6, 300, 301, 302, 899, 1_200}
    rows = {slot: f"{first + slot * STEP},{slot + 1},{slot + 3},{slot + 0.5},{slot + 2},{slot + 0.25}\n"
            for slot in range(slots)}  # fmt: skip
    truth = tmp_path / "BTC-USD_5m_truth.csv.gz"
    with gzip.open(truth, "wt") as file:
        file.writelines([HEADER, *(row for slot, row in rows.items() if slot not in outage)])
    held = tmp_path / "BTC-USD_5m_holes.csv"
    held.write_text(HEADER + "".join(row for slot, row in rows.items() if slot not in holes))
    _, done, requests = repair(
        run_inside, start_exchange, tmp_path, held, truth, "2026-01-01T00:00", "2026-01-06T04:00"
    )
    assert done.code == 0, done.err
    result = done.json
    assert {name: result[name] for name in TOTALS} == {
        "missing": 17, "filled": 7, "confirmed_empty": 10, "unresolved": 0, "gaps_found": 5, "gaps_filled": 4,
    }  # fmt: skip
    # newest first: {1200} with nothing within 300 slots before it but 901..; {899, 700..709}; {300..302, 5, 6}
    check_requests(requests, 3)
    members = cached_members()
    assert [member["timestamp"] for member in members] == [
        first + slot * STEP for slot in range(slots) if slot not in outage
    ]
    assert [member["close"] for member in members] == [slot + 2 for slot in range(slots) if slot not in outage]

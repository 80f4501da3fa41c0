"""Markets with few trades: once proved, nobody asks again, and the ready gate says so."""

from __future__ import annotations

import gzip
import time

import pytest
import redis as redis_py
from tests.integration.engines import MINUTE

from reconciler_engine import is_ready

WHERE = ("--timeframes", "1m", "--max-candles", 0, "--ttl", 0, "--batch-size", 50, "--json")


def check_settled(run_inside, redis_url, exchange, symbols, start, stop):
    """Reconcile twice; return how many slots were proved empty."""
    window = [time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(instant / 1_000)) for instant in (start, stop)]
    arguments = ("--symbols", ",".join(symbols), *WHERE, "--from", window[0], "--to", window[1])
    settings = {"RECONCILER_REDIS_URL": redis_url, "RECONCILER_BASE_URL": exchange.url}
    first = run_inside("reconcile", *arguments, **settings)
    assert (first.code, first.json["unresolved"]) == (0, 0), first.err
    asked = len(exchange.requests())
    assert asked == first.json["requests"] + first.json["references"]
    assert first.json["requests"] > 0
    again = run_inside("reconcile", *arguments, **settings)
    assert (again.code, again.json["requests"], again.json["missing"]) == (0, 0, 0)
    assert len(exchange.requests()) == asked
    bars = (stop - start) // MINUTE
    with redis_py.Redis.from_url(redis_url) as client:
        for symbol in symbols:
            # So that the last of these bars is the newest that counts as closed, for half a minute from now.
            grace = time.time_ns() // 1_000_000 - stop - MINUTE // 2
            assert is_ready(client, symbol, "1m", bars, grace_ms=grace)
            client.delete(f"{{candles:1:1:{symbol}:1m}}:evidence")
            assert not is_ready(client, symbol, "1m", bars, grace_ms=grace)
    return first.json["confirmed_empty"]


# Six hours are more than a page: cut into one of 300 slots and one of 60, the first would have no room for neighbours.
@pytest.mark.parametrize(("every", "hours"), [(7, 4), (2, 6)])
def test_made_up_thin_markets_are_settled_by_one_pass(run_inside, redis_url, start_exchange, tmp_path, every, hours):
    start = 1_767_225_600_000  # 2026-01-01
    replay = tmp_path / "replay"
    replay.mkdir()
    slots = range(-60, hours * 60 + 60, every)
    for name, there in (("THIN-USD", slots), ("DENSE-USD", range(-400, hours * 60 + 400))):
        rows = "".join(f"{start + slot * MINUTE},1,1,1,1,1\n" for slot in there)
        text = f"start_ms,open,high,low,close,volume\n{rows}"
        (replay / f"{name}_1m.csv.gz").write_bytes(gzip.compress(text.encode()))
    exchange = start_exchange(replay=replay, public_rate=0)
    stop = start + hours * 3_600_000
    empty = check_settled(run_inside, redis_url, exchange, ["THIN-USD"], start, stop)
    assert empty == hours * 60 - sum(0 <= slot < hours * 60 for slot in slots)

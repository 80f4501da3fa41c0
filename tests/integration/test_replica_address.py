"""A replica as address: what would write is refused at once, and what only reads works."""

from __future__ import annotations

import pytest
import redis as redis_py

SERIES = ("--symbols", "BTC-USD", "--timeframes", "1m")


@pytest.fixture
def replica(own_server, start_exchange, run_inside):
    """A server that became a replica after a pass wrote to it, and the exchange of that pass."""
    exchange = start_exchange()
    common = ("--redis-url", own_server.url, "--base-url", exchange.url)
    assert run_inside("reconcile", *SERIES, *common, "--batch-size", "100").code == 0
    with redis_py.Redis.from_url(own_server.url) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    return common


@pytest.mark.parametrize("command", ["scan", "reconcile", "start", "backfill"])
def test_what_writes_is_refused_with_the_servers_words(run_inside, replica, tmp_path, command):
    where = ("BTC-USD", "1m", "--from", "2026-01-01", "--to", "2026-01-02") if command == "backfill" else SERIES
    more = ("--data-dir", tmp_path, "--listen", "off") if command == "start" else ()
    done = run_inside(command, *where, *replica, *more)
    assert done.code == 69
    assert "READONLY You can't write against a read only replica" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        (("status",), {0, 69}),
        (("coverage", *SERIES), {0}),
        (("ready", "BTC-USD", "1m", "--bars", "5"), {0, 3}),
        (("journal", *SERIES), {0}),
        (("evidence", "BTC-USD", "1m"), {0}),
        (("doctor", *SERIES), {0, 3, 69, 78, 1}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_only_reads_works(run_inside, replica, command, codes):
    exchange = replica if command[0] in {"coverage", "doctor"} else replica[:2]
    done = run_inside(*command, *exchange)
    assert done.code in codes, done.err
    assert "Traceback" not in done.err
    if command[0] != "doctor":
        assert "READONLY" not in done.err + done.out

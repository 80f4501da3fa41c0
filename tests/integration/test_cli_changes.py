"""`changes`: what the engines changed since a cursor, as lines and as JSON."""

from __future__ import annotations

import json

from tests.integration.test_changes import BTC, MINUTE, T0, add, written
from tests.integration.test_status import status_of

from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import StatusBoard


def test_changes_are_told_with_the_cursor_to_go_on_from(redis_url, run_inside):
    written(redis_url, lambda c: add(c, BTC, 0, 1))
    told = run_inside("changes", RECONCILER_REDIS_URL=redis_url)
    line, last = told.out.splitlines()
    assert line.endswith(" BTC-USD:1m added 2026-01-01T00:00Z to 2026-01-01T00:02Z")
    word, cursor = last.split()
    assert (told.code, word) == (0, "cursor")
    written(redis_url, lambda c: add(c, BTC, 2))
    told = run_inside("changes", "--since", cursor, "--json", RECONCILER_REDIS_URL=redis_url)
    (read,) = told.json_lines
    (change,) = read["changes"]
    assert (change["kind"], change["start"], change["stop"]) == ("added", T0 + 2 * MINUTE, T0 + 3 * MINUTE)
    told = run_inside("changes", "--since", read["cursor"], "--json", RECONCILER_REDIS_URL=redis_url)
    assert told.json_lines[0]["changes"] == []


def test_changes_of_a_time_are_told(redis_url, run_inside):
    written(redis_url, lambda c: add(c, BTC, 0))
    for since, count in (("-1h", 1), ("now", 0)):
        told = run_inside("changes", "--since", since, "--json", RECONCILER_REDIS_URL=redis_url)
        assert len(told.json_lines[0]["changes"]) == count


def test_the_engine_that_runs_is_found_and_an_unwritten_feed_is_told(redis_url, run_inside):
    written(redis_url, lambda c: add(c, BTC, 0, scope=Scope(1, 1, "127.0.0.1:1")))
    alone = run_inside("changes", RECONCILER_REDIS_URL=redis_url)
    assert alone.err == "reconciler-engine: no engine wrote candles:1:1:* from api.coinbase.com yet\n"
    written(redis_url, announce("a:1", "127.0.0.1:1"))
    found = run_inside("changes", RECONCILER_REDIS_URL=redis_url)
    assert " BTC-USD:1m added " in found.out
    assert found.err == ""
    other = run_inside("changes", "--user-id", 7, RECONCILER_REDIS_URL=redis_url)
    assert "no engine wrote candles:7:1:* from api.coinbase.com yet" in other.err
    written(redis_url, announce("b:2", "127.0.0.1:2"))
    unclear = run_inside("changes", RECONCILER_REDIS_URL=redis_url)
    assert unclear.code == 78
    assert "no engine here has it; allowed: the URL of 127.0.0.1:1, 127.0.0.1:2" in unclear.err
    chosen = run_inside("changes", "--base-url", "http://127.0.0.1:1", RECONCILER_REDIS_URL=redis_url)
    assert " BTC-USD:1m added " in chosen.out


def announce(node, source):
    async def write(client):
        board, status = StatusBoard(client), status_of(node, source=source)
        await board.write(status)
        await board.announce(status)

    return write


def test_a_cursor_that_is_none_is_refused(redis_url, run_inside):
    told = run_inside("changes", "--since", "x" * 50, RECONCILER_REDIS_URL=redis_url)
    assert told.code == 78
    assert "--since: cursor 'xxx" in told.err
    told = run_inside("changes", "--since", "noon", RECONCILER_REDIS_URL=redis_url)
    assert "--since 'noon': no time; allowed:" in told.err
    assert told.err.endswith(", or a cursor that `changes` printed\n")


def test_followers_hear_of_changes_as_they_come(redis_url, start_process, tmp_path):
    follower = start_process(
        "changes", "--follow", "--json", "--redis-url", redis_url, "--data-dir", str(tmp_path), output="stdout"
    )
    written(redis_url, lambda c: add(c, BTC, 0))
    told = json.loads(follower.wait_line(lambda line: '"added"' in line))
    assert told["changes"][0]["symbol"] == "BTC-USD"

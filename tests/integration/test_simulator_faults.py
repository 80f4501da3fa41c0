"""Every fault mode over real sockets, as a client meets it."""

from __future__ import annotations

import gzip
import json
import zlib
from email.utils import parsedate_to_datetime

import httpx
import pytest
import trio
from tests.integration.faulty_exchange import CANDLES, NOW_S, RIGHT, TIME, WINDOW, open_door

from reconciler_engine.simulator.faults.file import parse_faults


async def test_no_rule_no_fault() -> None:
    async with open_door({"mode": "reset", "product": "ETH-USD"}) as door:
        assert await door.rows() == RIGHT
        assert door.exchange.log.records[-1].fault is None


async def test_throttle_is_played_and_logged() -> None:
    async with open_door({"name": "busy", "mode": "throttle", "count": 1}) as door:
        answer = await door.ask()
        assert (answer.status_code, answer.content) == (429, b"")
        assert "retry-after" not in answer.headers
        assert (await door.ask()).status_code == 200
        assert [record.fault for record in door.exchange.log.records] == ["busy", None]
        assert door.statuses == [429, 200]


async def test_throttle_may_say_when_to_come_back() -> None:
    settings = {"mode": "throttle", "wait_s": 7, "rate_headers": True, "body": True}
    async with open_door(
        {**settings, "name": "a", "retry_after": "seconds", "count": 1}, {**settings, "retry_after": "date"}
    ) as door:
        first, second = await door.ask(), await door.ask()
    assert (first.headers["retry-after"], first.headers["x-ratelimit-reset"]) == ("7", "7")
    assert first.json()["errors"][0]["id"] == "rate_limit_exceeded"
    assert parsedate_to_datetime(second.headers["retry-after"]).timestamp() == NOW_S + 7


async def test_throttle_escalates_to_a_block_of_everything() -> None:
    async with open_door({"mode": "throttle", "path": "*/candles", "escalate_after": 2, "block_s": 30}) as door:
        assert [(await door.ask()).status_code for _ in range(2)] == [429, 429]
        blocked = await door.ask(TIME)
        assert (blocked.status_code, blocked.text) == (403, "Too many errors")
        door.now_s += 29.9
        assert (await door.ask()).status_code == 403
        door.now_s += 0.1
        assert (await door.ask(TIME)).status_code == 200
        assert [(await door.ask()).status_code for _ in range(3)] == [429, 429, 403]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("body", ["json", "empty", "html"])
async def test_server_in_trouble(status: int, body: str) -> None:
    async with open_door({"mode": "status", "status": status, "body": body}) as door:
        answer = await door.ask()
    assert answer.status_code == status
    if body == "json":
        assert answer.json()["error"] == "INTERNAL"
    elif body == "empty":
        assert answer.content == b""
    else:
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("status", [200, 403, 503])
async def test_page_of_the_content_network(status: int) -> None:
    async with open_door({"mode": "challenge", "status": status}) as door:
        answer = await door.ask()
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


async def test_bare_refusals() -> None:
    async with open_door({"name": "a", "mode": "unauthorized", "count": 1}, {"mode": "blocked", "count": 1}) as door:
        assert [(answer.status_code, answer.text) for answer in (await door.ask(), await door.ask())] == [
            (401, "Unauthorized"),
            (403, "Too many errors"),
        ]
        assert (await door.ask()).status_code == 200


async def test_clock_is_off() -> None:
    async with open_door({"mode": "skew", "seconds": -300}) as door:
        assert (await door.ask(TIME)).json()["epochSeconds"] == str(NOW_S - 300)
        # The bar that is open by the right clock is not there by the wrong one, the one before is open.
        rows = await door.rows()
    assert [row["start"] for row in rows] == [row["start"] for row in RIGHT[1:]]
    assert float(rows[0]["volume"]) < float(RIGHT[1]["volume"])


async def test_refused_connection_comes_back_on_the_same_port(mock_clock: trio.testing.MockClock) -> None:
    async with open_door({"mode": "refuse", "seconds": 0.3, "count": 1}) as door:
        # The connection of the first request, kept by the client, is the one that is reset.
        with pytest.raises(httpx.ReadError):
            await door.ask()
        assert door.statuses == [0]
        with pytest.raises(httpx.ConnectError):
            await door.ask()
        mock_clock.jump(0.3)
        while True:
            try:
                answer = await door.ask()
                break
            except httpx.ConnectError:
                await trio.lowlevel.checkpoint()
        assert answer.status_code == 200


async def test_silence_lasts_until_the_client_has_enough() -> None:
    async with open_door({"mode": "silence", "count": 1}) as door:
        with pytest.raises(httpx.ReadTimeout):
            await door.client.get(CANDLES, params=WINDOW, timeout=httpx.Timeout(30, read=0.2))
        assert await door.rows() == RIGHT
        assert door.statuses == [0, 200]


async def test_silence_ends_after_its_time_without_an_answer() -> None:
    async with open_door({"mode": "silence", "seconds": 0.05}) as door:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await door.ask()


@pytest.mark.parametrize("mode", ["slow_head", "slow_body"])
async def test_slow_answer_arrives_whole_or_times_out(mode: str) -> None:
    async with open_door({"mode": mode, "seconds": 0.1}) as door:
        assert await door.rows() == RIGHT
        door.exchange.faults.set(parse_faults({"fault": [{"mode": mode, "seconds": 3_600}]}))
        with trio.move_on_after(0.1) as impatient:
            await door.ask()
        assert impatient.cancelled_caught


async def test_slow_body_has_its_head_at_once() -> None:
    async with (
        open_door({"mode": "slow_body", "seconds": 3_600}) as door,
        door.client.stream("GET", CANDLES, params=WINDOW) as answer,
    ):
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize("mode", ["reset", "reset_body"])
async def test_reset(mode: str) -> None:
    async with open_door({"mode": mode, "count": 1}) as door:
        with pytest.raises(httpx.ReadError):
            await door.ask()
        assert await door.rows() == RIGHT
        assert door.statuses == [0 if mode == "reset" else 200, 200]


async def test_truncated_body_whose_length_says_the_whole() -> None:
    async with open_door({"mode": "truncate", "length": "full"}) as door:
        with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection without sending complete"):
            await door.ask()


@pytest.mark.parametrize("length", ["short", "absent"])
async def test_truncated_body_that_looks_whole(length: str) -> None:
    async with open_door({"mode": "truncate", "length": length}) as door:
        answer = await door.ask()
    assert ("content-length" in answer.headers) is (length == "short")
    assert len(answer.content) > 100
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def test_connection_closed_without_a_word() -> None:
    async with open_door({"mode": "close"}) as door:
        for _ in range(3):
            answer = await door.ask()
            assert answer.json()["candles"] == RIGHT
            assert answer.headers.get("connection") is None


async def test_invalid_gzip() -> None:
    # Read raw: httpx leaves half-read generators behind when decoding fails.
    async with open_door({"mode": "gzip"}) as door, door.client.stream("GET", CANDLES, params=WINDOW) as answer:
        body = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    with pytest.raises((OSError, EOFError, zlib.error)):
        gzip.decompress(body)

"""How long a spoilt answer is on its way."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from reconciler_engine.http_server import HttpConnection
from reconciler_engine.simulator.api_response import ApiResponse
from reconciler_engine.simulator.faults.delivery import send_answer
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.simulator.serving import _BOUNDS


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("seconds", [0.01, 1.0, 3_600.0])
@pytest.mark.parametrize("length", [1, 49, 51, 210, 10_000])
async def test_a_slow_answer_takes_the_time_that_was_asked_for_whatever_its_length(length, seconds):
    near, far = trio.testing.memory_stream_pair()
    connection = HttpConnection(near, _BOUNDS)
    await far.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await connection.receive()
    slow = FaultRule("slow", "slow_body", values={"seconds": seconds})
    began = trio.current_time()
    assert await send_answer(connection, ApiResponse(200, b"x" * length), 0, slow)
    assert trio.current_time() - began == pytest.approx(seconds)
    assert (await far.receive_some()).endswith(b"\r\n\r\n" + b"x" * length)

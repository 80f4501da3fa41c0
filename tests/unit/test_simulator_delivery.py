"""How long a spoilt answer is on its way."""

from __future__ import annotations

from typing import Any

import h11
import pytest
import trio
import trio.testing

from reconciler_engine.simulator.api_answer import ApiAnswer
from reconciler_engine.simulator.faults.delivery import send_answer
from reconciler_engine.simulator.faults.rules import FaultRule


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("seconds", [0.01, 1.0, 3_600.0])
@pytest.mark.parametrize("length", [1, 49, 51, 210, 10_000])
async def test_a_slow_answer_takes_the_time_that_was_asked_for_whatever_its_length(length, seconds):
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    while connection.next_event() is not h11.NEED_DATA and connection.their_state is not h11.DONE:
        pass
    pair: Any = trio.testing.memory_stream_pair()
    near, far = pair
    slow = FaultRule("slow", "slow_body", values={"seconds": seconds})
    began = trio.current_time()
    assert await send_answer(connection, near, ApiAnswer(200, b"x" * length), 0, slow)
    assert trio.current_time() - began == pytest.approx(seconds)
    assert (await far.receive_some()).endswith(b"\r\n\r\n" + b"x" * length)

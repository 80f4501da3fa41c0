"""The pages under mutated requests: none ends the server, none finds a page that fails."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from tests.integration.request_mutants import mutants

from reconciler_engine.http_server import Server
from reconciler_engine.observe.web.access import Access
from reconciler_engine.observe.web.coverage_page import Picture
from reconciler_engine.observe.web.ready_page import Trouble
from reconciler_engine.observe.web.routes import LastReport, Routes, SeriesStates
from reconciler_engine.observe.web.series_page import SeriesView
from reconciler_engine.observe.web.server import make_server

KNOWN = {200, 400, 404, 405, 413, 421, 431, 501, 503}
"""503 is what `/livez` and `/readyz` say of an engine that has not been heard of."""


class NothingKnown:
    """Reads that find nothing."""

    def last_report(self) -> LastReport:
        return LastReport(None, 1.0)

    async def read_states(self) -> SeriesStates:
        await trio.lowlevel.checkpoint()
        return SeriesStates({})

    async def read_trouble(self) -> Trouble:
        await trio.lowlevel.checkpoint()
        return Trouble()

    async def read_picture(self, _: Sequence[str], __: str) -> Picture:
        await trio.lowlevel.checkpoint()
        return Picture()

    async def read_series(self, name: str) -> SeriesView:
        await trio.lowlevel.checkpoint()
        return SeriesView(name)


async def hear(server: Server, said: list[bytes], *, ends: bool) -> bytes:
    """Say something on a connection of its own, in pieces; return all that comes until the server closes it."""
    ours, theirs = trio.testing.memory_stream_pair()
    heard = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, theirs)
        try:
            for part in said:
                await ours.send_all(part)
                await trio.testing.wait_all_tasks_blocked()
            if ends:
                await ours.send_eof()
        except trio.BrokenResourceError:
            # Refused already; the words of the refusal are still to be read.
            pass
        while part := bytes(await ours.receive_some()):
            heard += part
    return heard


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("count", [1_000, pytest.param(100_000, marks=pytest.mark.soak)])
async def test_mutated_requests_end_nothing(count, caplog, tell_figure):
    server = make_server(Routes(Access((), None), NothingKnown()).respond)
    statuses: Counter[int] = Counter()
    for number, said in enumerate(mutants(count, seed=1)):
        heard = await hear(server, said, ends=bool(number % 2))
        statuses.update(int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", heard))
        assert KNOWN.issuperset(statuses), said
    assert caplog.text == ""
    assert min(statuses[status] for status in KNOWN - {431}) > 0
    told = ", ".join(f"{found} of {status}" for status, found in sorted(statuses.items()))
    tell_figure(f"{count:,} mutated requests: no death, no 500; answers: {told}")

"""The proxy does to a connection what it says, in the direction it says, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from tests.chaos.proxy import Kind, Proxy, Toxic, Way, open_proxy
from tests.chaos.waiting import wait_until

BOTH = pytest.mark.parametrize("way", list(Way))
SENT = bytes(range(256)) * 4


@dataclass
class Wire:
    """A client and a server with the proxy between them."""

    proxy: Proxy
    client: trio.SocketStream
    server: trio.SocketStream

    def ends(self, way: Way) -> tuple[trio.SocketStream, trio.SocketStream]:
        """Return sender and receiver of a direction."""
        return (self.client, self.server) if way is Way.UP else (self.server, self.client)


@asynccontextmanager
async def wire(path=None) -> AsyncIterator[Wire]:
    """One connection; with `path` over unix sockets."""
    with trio.fail_after(20):
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        async with listener, open_proxy(listener.socket.getsockname(), front=path) as (proxy, where):
            host, _, port = where.rpartition(":")
            client = await trio.open_unix_socket(where) if path else await trio.open_tcp_stream(host, int(port))
            server = await listener.accept()
            async with client, server:
                while not proxy.open:
                    await trio.lowlevel.checkpoint()
                yield Wire(proxy, client, server)


async def receive(stream: trio.SocketStream, count: int) -> bytes:
    """Read so many bytes, fewer where the stream ends."""
    got = b""
    while len(got) < count and (chunk := await stream.receive_some(count - len(got))):
        got += chunk
    return got


@BOTH
@pytest.mark.parametrize(
    "toxic",
    [
        None,
        Toxic(Kind.LATENCY, Way.UP, delay_s=0.02, jitter_s=0.02),
        Toxic(Kind.BANDWIDTH, Way.UP, bytes_per_s=20_000),
        Toxic(Kind.SLICER, Way.UP, delay_s=0.0001),
        Toxic(Kind.SLOW_CLOSE, Way.UP, delay_s=0.02),
    ],
    ids=lambda toxic: toxic.kind if toxic else "clean",
)
@pytest.mark.parametrize("over", ["tcp", "unix"])
async def test_what_passes_late_or_in_pieces_is_whole_and_in_order(over, toxic, way, tmp_path):
    async with wire(tmp_path / "p" if over == "unix" else None) as run:
        sender, receiver = run.ends(way)
        if toxic:
            run.proxy.set(Toxic(toxic.kind, way, toxic.delay_s, toxic.jitter_s, toxic.bytes_per_s))
        began = trio.current_time()
        for at in range(0, len(SENT), 100):
            await sender.send_all(SENT[at : at + 100])
        await sender.send_eof()
        assert await receive(receiver, len(SENT) + 1) == SENT
        took = trio.current_time() - began
        least = {Kind.LATENCY: 0.02, Kind.BANDWIDTH: 1_000 / 20_000, Kind.SLOW_CLOSE: 0.02}
        assert took >= (least.get(toxic.kind, 0) if toxic else 0)
        # the other direction is a clean wire
        await receiver.send_all(b"back")
        assert await receive(sender, 4) == b"back"


@BOTH
async def test_a_slicer_delivers_pieces(way, mock_clock):
    async with wire() as run:
        sender, receiver = run.ends(way)
        run.proxy.set(Toxic(Kind.SLICER, way, delay_s=0.01, piece=3))
        await sender.send_all(b"abcdefgh")
        for piece in (b"abc", b"def", b"gh"):
            assert await receiver.receive_some(100) == piece
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.01)


@BOTH
async def test_what_is_swallowed_never_arrives_and_nothing_after_it(way):
    async with wire() as run:
        sender, receiver = run.ends(way)
        await sender.send_all(b"before")
        assert await receive(receiver, 6) == b"before"
        run.proxy.set(Toxic(Kind.SWALLOW, way))
        await sender.send_all(b"lost")
        await wait_until(lambda: run.proxy.swallowed == 4)
        run.proxy.clear()
        await sender.send_all(b"after")
        await sender.send_eof()
        assert await receive(receiver, 1) == b""


@BOTH
async def test_what_is_stalled_fills_the_senders_buffers_and_passes_afterwards(way):
    async with wire() as run:
        sender, receiver = run.ends(way)
        run.proxy.set(Toxic(Kind.STALL, way))
        sent = 0
        with trio.move_on_after(0.3) as full:
            while sent < 64 * 1024 * 1024:
                await sender.send_all(bytes(1 << 16))
                sent += 1 << 16
        assert full.cancelled_caught
        run.proxy.clear()
        assert len(await receive(receiver, sent)) == sent


@BOTH
async def test_a_reset_reaches_both_ends(way):
    async with wire() as run:
        sender, receiver = run.ends(way)
        run.proxy.set(Toxic(Kind.RESET, way))
        await sender.send_all(b"x")
        for end in (receiver, sender):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some(1)


@BOTH
async def test_a_limit_ends_a_connection_in_mid_message(way):
    async with wire() as run:
        sender, receiver = run.ends(way)
        run.proxy.set(Toxic(Kind.LIMIT, way, limit=10))
        await sender.send_all(b"0123456789abc")
        assert await receive(receiver, 13) == b"0123456789"


@BOTH
async def test_a_cut_ends_what_there_is_and_what_is_tried(way):
    async with wire() as run:
        run.proxy.set(Toxic(Kind.CUT, way))
        for end in (run.client, run.server):
            assert await receive(end, 1) == b""
        again = await trio.open_tcp_stream(*run.client.socket.getpeername())
        async with again:
            if way is Way.UP:
                with pytest.raises(trio.BrokenResourceError):
                    await again.receive_some(1)
            else:
                assert await again.receive_some(1) == b""
        assert not run.proxy.open


async def test_a_fault_of_one_source_is_that_of_its_connections_alone():
    async with wire() as run:
        host, port = run.client.socket.getpeername()
        async with await trio.open_tcp_stream(host, port, local_address="127.0.0.2") as other:
            await wait_until(lambda: len(run.proxy.open) == 2)
            run.proxy.set(Toxic(Kind.STALL, Way.UP), "127.0.0.2")
            await other.send_all(b"held")
            await run.client.send_all(b"passes")
            assert await receive(run.server, 6) == b"passes"
            run.proxy.lose("127.0.0.2")
            assert await receive(other, 1) == b""
            await wait_until(lambda: len(run.proxy.open) == 1)


async def test_silence_is_what_lies_between_signs_of_the_client():
    async with wire() as run:
        await run.client.send_all(b"x")
        await receive(run.server, 1)
        await run.server.send_all(b"y")
        await receive(run.client, 1)
        # signs of the client alone: it connected and sent
        assert len(run.proxy.signs) == 2
        run.proxy.signs[:] = [1.0, 2.0, 5.0, 9.0]
        assert run.proxy.longest_silence(1.5, 5.5) == 3.0
        assert run.proxy.longest_silence(5.5, 8.0) == 2.5

"""A proxy on loopback that spoils what passes it: the network's own faults, in each direction, at will.

It understands nothing of what it carries and changes no byte: TCP does not either. Bytes are late, in pieces, held up,
lost together with all that follows them, or the connection ends in one of the ways in which connections end.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random

import trio

Address = tuple[str, int] | Path
"""Host and port, or the path of a unix socket."""

_CHUNK = 16 * 1024
_BACKLOG = 64
_GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Way(StrEnum):
    """A direction: from the client to the server, or back."""

    UP = "up"
    DOWN = "down"


class Kind(StrEnum):
    """Faults of the network in one direction."""

    LATENCY = "latency"
    """Bytes arrive `delay_s` late, and up to `jitter_s` more; their order stays."""
    BANDWIDTH = "bandwidth"
    """`bytes_per_s`, no more."""
    SLICER = "slicer"
    """Pieces of at most `piece` bytes, `delay_s` apart."""
    SLOW_CLOSE = "slow close"
    """The end of the stream arrives `delay_s` late."""
    SWALLOW = "swallow"
    """Bytes are taken and never arrive, and nothing that follows them on their connection."""
    STALL = "stall"
    """Nothing is taken any more: the sender's buffers fill. Bytes that wait pass once the fault is over."""
    RESET = "reset"
    """The connection is reset where bytes would have passed."""
    LIMIT = "limit"
    """A connection ends after `limit` bytes, in mid-message."""
    CUT = "cut"
    """Connections end, and new ones at once. Up: by a reset. Down: by an end of stream, as before a dead server."""


@dataclass(frozen=True, slots=True)
class Toxic:
    """A fault of one direction; each kind looks at its own numbers."""

    kind: Kind
    way: Way
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: int = 2_000
    piece: int = 7
    limit: int = 100

    def __str__(self) -> str:
        return f"{self.kind} {self.way}"


class Proxy:
    """All connections through one listener, and what is done to them.

    Attributes:
        opened: Connections taken so far.
        open: Those there are.
        swallowed: Bytes taken that never arrive.
        signs: When the client's side did something (s of trio's clock): connected, sent, ended.
    """

    def __init__(self, target: Address, seed: int) -> None:
        self._target = target
        self._random = Random(seed)
        self._toxics: dict[tuple[str, Way], Toxic] = {}
        self._changed = trio.Event()
        self.opened = 0
        self.open: set[_Pair] = set()
        self.swallowed = 0
        self.signs: list[float] = []

    def set(self, toxic: Toxic, source: str = "") -> None:
        """Put a fault in force in its direction, in place of another; on connections there are and those to come.

        One for a `source`, a host that clients connect from, stands before that for all.
        """
        self._toxics[source, toxic.way] = toxic
        self._tell()
        if toxic.kind is Kind.CUT:
            for pair in tuple(self.open):
                pair.close()

    def lose(self, source: str) -> None:
        """End the connections from a source; bytes on their way through them never arrive."""
        for pair in tuple(self.open):
            if pair.source == source:
                pair.close()

    def clear(self) -> None:
        """Be a clean wire again. Swallowed bytes stay lost, and their connections dead."""
        self._toxics.clear()
        self._tell()

    def lead_to(self, target: Address) -> None:
        """Lead connections to come to another server; those there are stay where they are."""
        self._target = target

    def toxic(self, way: Way, source: str = "") -> Toxic | None:
        """Return the toxic in force in a direction, for a source."""
        return self._toxics.get((source, way)) or self._toxics.get(("", way))

    def longest_silence(self, since: float, until: float) -> float:
        """The longest time between two of these instants (s) in which the client's side did nothing at all."""
        signs = [since, *(sign for sign in self.signs if since < sign < until), until]
        return max(after - before for before, after in pairwise(signs))

    def draw_jitter(self, toxic: Toxic) -> float:
        """How late bytes are (s)."""
        return toxic.delay_s + self._random.uniform(0, toxic.jitter_s)

    async def wait_changed(self) -> None:
        """Wait until other faults are in force."""
        await self._changed.wait()

    def sign(self) -> None:
        """Note that the client's side did something."""
        self.signs.append(trio.current_time())

    async def serve(self, client: trio.SocketStream) -> None:
        """Carry one connection until it ends."""
        self.opened += 1
        self.sign()
        try:
            server = await _connect(self._target)
        except OSError:
            _reset(client)
            return
        pair = _Pair(self, client, server)
        if any(self._is(way, Kind.CUT) for way in Way):
            pair.close(reset=self._is(Way.UP, Kind.CUT))
            return
        self.open.add(pair)
        try:
            await pair.carry()
        finally:
            self.open.discard(pair)
            pair.close()
            self.sign()

    def _is(self, way: Way, kind: Kind) -> bool:
        toxic = self.toxic(way)
        return toxic is not None and toxic.kind is kind

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class _Pair:
    """Two sockets that make one connection."""

    def __init__(self, proxy: Proxy, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self.source = _host_of(client)
        self._scope = trio.CancelScope()

    def close(self, *, reset: bool = False) -> None:
        """End both halves at once."""
        self._scope.cancel()
        for stream in (self._client, self._server):
            if reset:
                _reset(stream)
            stream.socket.close()

    async def carry(self) -> None:
        """Carry both directions; return when both have ended, or the connection was ended."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._carry, Way.UP, self._client, self._server)
                nursery.start_soon(self._carry, Way.DOWN, self._server, self._client)

    async def _carry(self, way: Way, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        """Carry one direction: each chunk read waits in line for its time."""
        line, exit_ = trio.open_memory_channel[tuple[float, bytes]](_BACKLOG)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, way, exit_, sink)
                async with line:
                    await self._read(way, source, line)
        except* _GONE:
            # Half a connection is none: the peer that is still there learns it.
            self.close()

    async def _read(
        self, way: Way, source: trio.SocketStream, line: trio.MemorySendChannel[tuple[float, bytes]]
    ) -> None:
        due = 0.0
        while True:
            await self._wait_flowing(way)
            chunk = await source.receive_some(_CHUNK)
            if way is Way.UP:
                self._proxy.sign()
            await self._wait_flowing(way)
            toxic = self._toxic(way)
            late = 0.0
            match toxic.kind if toxic is not None else None:
                case Kind.SWALLOW if chunk:
                    await self._swallow(source, chunk)
                    return
                case Kind.RESET if chunk:
                    self.close(reset=True)
                    return
                case Kind.SLOW_CLOSE if not chunk and toxic is not None:
                    late = toxic.delay_s
                case Kind.LATENCY if toxic is not None:
                    late = self._proxy.draw_jitter(toxic)
            due = max(due, trio.current_time() + late)
            await line.send((due, chunk))
            if not chunk:
                return

    async def _swallow(self, source: trio.SocketStream, chunk: bytes) -> None:
        """Take all that comes until the sender gives up: no TCP delivers bytes after a hole."""
        while chunk:
            self._proxy.swallowed += len(chunk)
            chunk = await source.receive_some(_CHUNK)
        self.close()

    def _toxic(self, way: Way) -> Toxic | None:
        return self._proxy.toxic(way, self.source)

    async def _wait_flowing(self, way: Way) -> None:
        while (toxic := self._toxic(way)) is not None and toxic.kind is Kind.STALL:
            await self._proxy.wait_changed()

    async def _write(
        self, way: Way, exit_: trio.MemoryReceiveChannel[tuple[float, bytes]], sink: trio.SocketStream
    ) -> None:
        passed = 0
        async for due, chunk in exit_:
            await trio.sleep_until(due)
            if not chunk:
                await sink.send_eof()
                return
            for piece, pause_s in _pieces(chunk, self._toxic(way)):
                toxic = self._toxic(way)
                if toxic is not None and toxic.kind is Kind.LIMIT:
                    passed += len(piece)
                    if passed > toxic.limit:
                        await sink.send_all(piece[: max(0, len(piece) - (passed - toxic.limit))])
                        self.close()
                        return
                await sink.send_all(piece)
                await trio.sleep(pause_s)


def _pieces(chunk: bytes, toxic: Toxic | None) -> Iterator[tuple[bytes, float]]:
    """Pieces of a chunk as they pass, and how long (s) the next one waits."""
    match toxic.kind if toxic is not None else None:
        case Kind.SLICER if toxic is not None:
            size, pause_s = toxic.piece, toxic.delay_s
        case Kind.BANDWIDTH if toxic is not None:
            size = max(1, toxic.bytes_per_s // 20)
            pause_s = size / toxic.bytes_per_s
        case _:
            size, pause_s = len(chunk), 0.0
    return ((chunk[at : at + size], pause_s) for at in range(0, len(chunk), size))


def _host_of(stream: trio.SocketStream) -> str:
    """Return the host that a connection comes from; nothing for a unix socket, or one that is gone."""
    with suppress(OSError):
        name = stream.socket.getpeername()
        return str(name[0]) if isinstance(name, tuple) else ""
    return ""


def _reset(stream: trio.SocketStream) -> None:
    """Close with a reset where the kind of socket knows one."""
    with suppress(OSError):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def _connect(target: Address) -> trio.SocketStream:
    if isinstance(target, Path):
        return await trio.open_unix_socket(target)
    return await trio.open_tcp_stream(*target)


@asynccontextmanager
async def open_proxy(target: Address, *, front: Path | None = None, seed: int = 1) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy before `target` for the length of a block.

    Gives the proxy and where it listens: `127.0.0.1:PORT`, or the path of the unix socket `front`. Its connections end
    with the block.
    """
    proxy = Proxy(target, seed)
    async with trio.open_nursery() as nursery:
        if front is None:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            where = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        else:
            listeners = [await _listen_unix(front)]
            where = str(front)
        serve: Callable[..., Awaitable[object]] = partial(trio.serve_listeners, proxy.serve, listeners)
        nursery.start_soon(serve)
        yield proxy, where
        nursery.cancel_scope.cancel()


async def _listen_unix(path: Path) -> trio.SocketListener:
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await sock.bind(str(path))
    sock.listen(_BACKLOG)
    return trio.SocketListener(sock)

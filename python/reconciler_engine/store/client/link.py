"""Bytes to and from one server: a plain socket or TLS over one."""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final, Protocol

import trio

from reconciler_engine.store.client.address import Address

# A server writes long answers 64 KiB at a time, and a little more to finish a piece: one read takes one such write
# (500 x 30 members: 36 reads instead of 60).
_READ_SIZE: Final = 128 * 1024

# One buffer for all connections of a run: its bytes are parsed before another connection reads.
_BUFFER: Final = trio.lowlevel.RunVar[bytearray]("read buffer")

# A peer that vanished without a FIN is noticed after about 45 s of silence, also while a blocking read waits.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPALIVE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class Link(Protocol):
    """A stream of bytes to one server; used by one task at a time."""

    async def send(self, payload: bytes) -> None:
        """Send all of `payload`. When this is cancelled or raises, nobody knows how much went out."""

    async def receive(self) -> bytes | memoryview:
        """Wait for bytes; empty at the peer's end of stream. They are valid until the next await."""

    def is_quiet(self) -> bool:
        """Whether the peer neither closed nor sent anything nobody asked for."""

    def close(self) -> None:
        """Close at once, without a goodbye; a task that waits in `receive` gets ClosedResourceError."""


class PlainLink:
    """A socket without TLS.

    Sends on the socket at once and waits only if the kernel's buffer is full: a round trip goes through trio's
    scheduler once, where trio's own stream goes three times (measured: 30 to 40 us of a round trip).
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take over the socket of `stream`, which is of no use afterwards."""
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.settimeout(0)
        self._poll = _poll_of(self._socket.fileno())

    async def send(self, payload: bytes) -> None:
        """Send all of `payload`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = self._send_some(payload)
        if sent == len(payload):
            return
        with memoryview(payload) as rest:
            while sent < len(payload):
                await trio.lowlevel.wait_writable(self._socket)
                sent += self._send_some(rest[sent:])

    async def receive(self) -> bytes | memoryview:
        """Wait for bytes; empty at the end of stream."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            buffer = _buffer()
            try:
                count = self._socket.recv_into(buffer)
            except BlockingIOError:
                # Readable is a hint.
                continue
            return memoryview(buffer)[:count]

    def is_quiet(self) -> bool:
        """Whether nothing arrived unasked, an end of stream included."""
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close at once; harmless when closed already."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _send_some(self, payload: bytes | memoryview) -> int:
        try:
            return self._socket.send(payload)
        except BlockingIOError:
            return 0


class TlsLink:
    """TLS over a socket."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._socket = stream.transport_stream.socket
        self._poll = _poll_of(self._socket.fileno())

    async def send(self, payload: bytes) -> None:
        """Send all of `payload`."""
        await self._stream.send_all(payload)

    async def receive(self) -> bytes | memoryview:
        """Wait for bytes; empty at the end of stream."""
        return bytes(await self._stream.receive_some(_READ_SIZE))

    def is_quiet(self) -> bool:
        """Whether nothing arrived unasked, an end of stream included."""
        # A session ticket looks like a noise too; that costs a new connection and nothing else.
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close at once; harmless when closed already."""
        self._socket.close()


async def open_link(address: Address, tls: ssl.SSLContext | None) -> Link:
    """Connect to `address`, and over TLS if there is a context for it, its handshake included.

    Nothing stays open when this raises or is cancelled.

    Raises:
        OSError: No connection came about, or the certificate was refused (ssl.SSLError).
        trio.BrokenResourceError: The TLS handshake failed.
    """
    if address.path is not None:
        return PlainLink(await trio.open_unix_socket(address.path))
    stream = await trio.open_tcp_stream(address.host, address.port)
    _keep_alive(stream)
    if tls is None:
        return PlainLink(stream)
    # https_compatible: a server may close without a TLS goodbye.
    secure = trio.SSLStream(stream, tls, server_hostname=address.host, https_compatible=True)
    try:
        await secure.do_handshake()
    except BaseException:
        stream.socket.close()
        raise
    return TlsLink(secure)


def _buffer() -> bytearray:
    try:
        return _BUFFER.get()
    except LookupError:
        buffer = bytearray(_READ_SIZE)
        _BUFFER.set(buffer)
        return buffer


def _poll_of(descriptor: int) -> select.poll:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll


def _keep_alive(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        # The names differ by platform; TCP_KEEPALIVE is macOS' TCP_KEEPIDLE.
        option = getattr(socket, name, None)
        if option is not None:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)

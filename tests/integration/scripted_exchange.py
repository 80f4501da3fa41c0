"""A server that plays scripted answers, and a client of it."""

from __future__ import annotations

import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler_engine.coinbase.candles import CandlePage
from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series

Step = bytes | Callable[[trio.SocketStream], Awaitable[None]]
SERIES = Series.parse("BTC-USD:5m")
PAGE = Interval(1_767_225_600_000, 1_767_226_200_000)
ROW = {"start": "1767225600", "low": "1", "high": "3", "open": "2", "close": "2", "volume": "9.8"}
GOOD = json.dumps({"candles": [ROW]}).encode()


def answer(body: bytes = GOOD, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def close(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def hold(stream: trio.SocketStream) -> None:
    """Say nothing more; return when the client has left."""
    await stream.receive_some()


class Exchange:
    """Plays a script a request, the last one for ever; keeps the head of each request and counts connections."""

    def __init__(self, scripts: Sequence[Sequence[Step]]) -> None:
        self.scripts = list(scripts)
        self.heads: list[str] = []
        self.connections = 0
        self.url = ""
        self.heard = trio.Event()

    async def serve(self, stream: Any, socket_stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            while (head := await read_head(stream)) is not None:
                self.heads.append(head)
                self.heard.set()
                for step in self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]:
                    if callable(step):
                        await step(socket_stream)
                    else:
                        await stream.send_all(step)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


async def read_head(stream: Any) -> str | None:
    """The next request; a client sends its next one only after it was answered."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await stream.receive_some()
        if not data:
            return None
        head += data
    return head.decode()


@asynccontextmanager
async def exchange(
    *scripts: Sequence[Step], tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[tuple[CoinbaseClient, Exchange]]:
    server = Exchange(scripts)

    async def serve(stream: trio.SocketStream) -> None:
        shown = stream if tls is None else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        await server.serve(shown, stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        server.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        with trio.fail_after(10):
            async with CoinbaseClient(server.url, **settings) as client:
                yield client, server
        nursery.cancel_scope.cancel()


async def fetch(client: CoinbaseClient) -> CandlePage:
    return await client.fetch_candles(SERIES, PAGE)


def certificate(folder: Path, *addresses: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own for `addresses`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName(
        [
            x509.IPAddress(ip_address(address)) if address[0].isdigit() else x509.DNSName(address)
            for address in addresses
        ]
    )
    signed = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    file = folder / "server.pem"
    file.write_bytes(
        pem
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=pem.decode())

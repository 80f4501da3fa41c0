"""HTTP of the pages: what is kept open, what is bounded, and what a wrong request is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import h11
import pytest
import trio
import trio.testing

from reconciler_engine.http_server import Request, Response
from reconciler_engine.observe.web import server
from reconciler_engine.observe.web.http import TEXT, refuse, show

GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def echo(request: Request) -> Response:
    await trio.lowlevel.checkpoint()
    if request.path == "/raise":
        raise RuntimeError("canary")
    if request.path == "/hang":
        await trio.sleep_forever()
    if request.path == "/refuse":
        return refuse(HTTPStatus.UNAUTHORIZED, "no")
    return show(HTTPStatus.OK, TEXT, f"{request.method} {request.path}".encode())


class Client:
    """The other end of one connection."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.connection = h11.Connection(h11.CLIENT)

    async def ask(self, method: str = "GET", target: str = "/", **headers: str) -> tuple[int, dict[str, str], bytes]:
        head = [("host", "localhost"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        request = h11.Request(method=method, target=target, headers=head)
        data = (self.connection.send(request) or b"") + (self.connection.send(h11.EndOfMessage()) or b"")
        await self.stream.send_all(data)
        answer, body = None, b""
        while True:
            event = self.connection.next_event()
            if event is h11.NEED_DATA:
                self.connection.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert answer is not None
                if self.connection.our_state is h11.DONE:
                    self.connection.start_next_cycle()
                return answer.status_code, {n.decode(): v.decode() for n, v in answer.headers}, body

    async def say(self, data: bytes) -> bytes:
        """Send bytes as they are; return all that comes until the other end closes."""
        await self.stream.send_all(data)
        heard = b""
        while part := await self.stream.receive_some():
            heard += part
        return heard


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    """A client in memory, so that a virtual clock can pass."""
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.make_server(echo).serve_connection, theirs)
            yield Client(ours)
            nursery.cancel_scope.cancel()


async def test_a_connection_is_kept_from_one_request_to_the_next():
    async with connected() as client:
        status, headers, body = await client.ask(target="/a?secret=1")
        assert (status, body) == (200, b"GET /a")
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; ")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert (await client.ask("HEAD", "/b"))[1:] == ({**headers, "content-length": "7"}, b"")
        assert (await client.ask(target="/c"))[2] == b"GET /c"


async def test_who_asks_to_close_is_obeyed():
    async with connected() as client:
        heard = await client.say(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert heard.endswith(b"GET /")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_who_is_refused_connects_anew(method):
    async with connected() as client:
        status, headers, body = await client.ask(method, "/refuse")
        assert (status, headers["connection"]) == (401, "close")
        assert body == (b"no\n" if method == "GET" else b"")
        assert await client.stream.receive_some() == b""


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 3_000 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", 413),
        (b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 413),
    ],
)
async def test_what_is_no_request_of_ours_is_refused_in_words(said, status):
    async with connected() as client:
        heard = await client.say(said)
        assert heard.startswith(f"HTTP/1.1 {status} ".encode())
        assert heard.endswith(b"bad request\n")


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize(("said", "after_s"), [(b"", 5.0), (b"GET / HTT", 5.0)])
async def test_a_request_that_does_not_come_is_not_waited_for(said, after_s):
    async with connected() as client:
        began = trio.current_time()
        assert await client.say(said) == b""
        assert trio.current_time() - began == pytest.approx(after_s)


@pytest.mark.usefixtures("autojump_clock")
async def test_an_idle_connection_is_kept_longer_than_scrapers_pause_and_a_drip_is_not():
    async with connected() as client:
        await client.ask()
        await trio.sleep(70)
        assert (await client.ask())[0] == 200
        await trio.sleep(70)
        began = trio.current_time()
        assert await client.say(b"GET") == b""
        assert trio.current_time() - began == pytest.approx(5.0)


@pytest.mark.usefixtures("autojump_clock")
async def test_a_page_that_fails_or_hangs_is_its_own_trouble(caplog):
    async with connected() as client:
        status, _, body = await client.ask(target="/raise")
        assert (status, b"canary" in body) == (500, False)
    assert "canary" in caplog.text
    async with connected() as client:
        assert (await client.ask(target="/hang"))[0] == 503


async def test_one_connection_too_many_is_closed_and_a_place_is_free_again():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    places = server.BOUNDS.connections
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, listeners, echo)
            held = [await trio.testing.open_stream_to_socket_listener(listeners[0]) for _ in range(places)]
            assert (await Client(held[-1]).ask())[0] == 200
            async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as surplus:
                assert await surplus.receive_some() == b""
            await held[0].aclose()
            while True:
                async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as next_one:
                    try:
                        assert (await Client(next_one).ask())[0] == 200
                        break
                    except (AssertionError, h11.RemoteProtocolError, trio.BrokenResourceError):
                        continue
            for stream in held[1:]:
                await stream.aclose()
            nursery.cancel_scope.cancel()

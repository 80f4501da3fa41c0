"""HTTP of the pages: connections kept open, bounds, and answers to wrong requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus

import h11
import pytest
import trio
import trio.testing

from reconciler_engine.http_server import Request, Response, Server
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


@pytest.mark.parametrize("said", [b"HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx", b"nonsense\r\n\r\n"])
async def test_a_refusal_is_framed_for_the_request_it_belongs_to(said, caplog):
    async with connected() as client:
        await client.ask("HEAD")
        heard = await client.say(said)
        assert heard.startswith(b"HTTP/1.1 4")
        assert heard.endswith(b"\r\n\r\n" if said.startswith(b"HEAD") else b"bad request\n")
    assert caplog.text == ""


async def test_a_connection_that_fails_ends_nothing_but_itself(caplog):
    async def fail(*_: object) -> bool:
        await trio.lowlevel.checkpoint()
        raise h11.LocalProtocolError("canary")

    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(server.BOUNDS, fail, server._refuse).serve_connection, theirs)
        assert await Client(ours).say(GET) == b""
    assert "canary" in caplog.text


@pytest.mark.usefixtures("autojump_clock")
async def test_a_request_that_came_in_part_behind_another_gets_five_seconds():
    async with connected() as client:
        await client.ask()
        began = trio.current_time()
        heard = await client.say(GET + GET[:-2])
        assert heard.count(b"HTTP/1.1 200") == 1
        assert trio.current_time() - began == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        (b"GET /a HTTP/1.0\r\n\r\n", b"GET /a"),
        (b"GET http://localhost:9464/a?b HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", b"GET /a"),
        (b"GET HTTPS://LOCALHOST HTTP/1.0\r\n\r\n", b"GET /"),
        (b"GET http://localhost?b HTTP/1.0\r\n\r\n", b"GET /"),
    ],
)
async def test_targets_and_versions_of_load_balancers_are_read(said, path):
    async with connected() as client:
        heard = await client.say(said)
        assert (heard[:12], heard.rpartition(b"\r\n")[2]) == (b"HTTP/1.1 200", path)


@asynccontextmanager
async def crowd(said: bytes, *, hears: bool) -> AsyncIterator[tuple[trio.SocketListener, list[Client]]]:
    """As many clients as there are places, each of which has said the same."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    clients: list[Client] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, [listener], echo)
            for _ in range(server.BOUNDS.connections):
                clients.append(Client(await trio.testing.open_stream_to_socket_listener(listener)))
                await clients[-1].stream.send_all(said)
                if hears:
                    assert (await clients[-1].stream.receive_some()).startswith(b"HTTP/1.1 200")
            yield listener, clients
            for client in clients:
                await trio.aclose_forcefully(client.stream)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("said", "hears"),
    [(b"", False), (b"GET / HTTP/1.1\r\nhos", False), (GET, True), (GET + GET[:9], True)],
    ids=["silent", "dripping", "idle", "pipelined"],
)
async def test_the_oldest_connection_without_a_request_gives_way(said, hears, monkeypatch):
    # None of them runs out of time meanwhile.
    patient = replace(server.BOUNDS, first_s=600.0, request_s=600.0, idle_s=600.0)
    monkeypatch.setattr(server, "BOUNDS", patient)
    async with crowd(said, hears=hears) as (listener, clients), AsyncExitStack() as probes:
        for client in clients[:3]:
            probe = await trio.testing.open_stream_to_socket_listener(listener)
            await probes.enter_async_context(probe)
            assert (await Client(probe).ask(target="/livez"))[0] == 200
            assert await client.stream.receive_some() == b""
        # The youngest keep their places.
        if hears:
            await clients[-1].stream.send_all(GET[len(said) % len(GET) :])
            assert (await clients[-1].stream.receive_some()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_does_not_read_gives_way_and_one_being_answered_does_not():
    async def respond(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        if request.path == "/hang":
            await trio.sleep_forever()
        return show(HTTPStatus.OK, TEXT, b"x" * 50_000_000 * (request.path == "/long"))

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, [listener], respond)
            held = []
            for number in range(server.BOUNDS.connections):
                held.append(await trio.testing.open_stream_to_socket_listener(listener))
                await held[-1].send_all(GET.replace(b"/ ", b"/long " if number == 1 else b"/hang "))
            # It is sent to in any case once something of it has come.
            assert await held[1].receive_some(1)
            async with await trio.testing.open_stream_to_socket_listener(listener) as probe:
                assert (await Client(probe).ask())[0] == 200
            # Nobody else keeps us waiting: there is no place.
            async with await trio.testing.open_stream_to_socket_listener(listener) as one:
                await one.send_all(GET[:5])
                async with await trio.testing.open_stream_to_socket_listener(listener) as other:
                    assert (await Client(other).ask())[0] == 200
                assert await one.receive_some() == b""
            for stream in held:
                await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()

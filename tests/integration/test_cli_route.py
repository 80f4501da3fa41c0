"""An exchange behind a company's proxy that shows a certificate of the company's own: every process goes through it."""

from __future__ import annotations

import contextlib
import queue
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from tests.integration.conftest import PATIENCE_S, clean_environment
from tests.integration.scripted_exchange import certificate, read_head
from tests.integration.test_store_tls import copy


@pytest.fixture
def exchange(start_exchange):
    return start_exchange()


@pytest.fixture
def proxy(exchange, tmp_path) -> Iterator[tuple[str, Path]]:
    """The URL of a proxy that looks into its tunnels, and the authorities by which its certificate counts."""
    tls, _ = certificate(tmp_path, "exchange.invalid")
    port = int(exchange.url.rpartition(":")[2])
    told: queue.Queue[tuple[int, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.Queue()

    async def run() -> None:
        with trio.CancelScope() as life:
            async with trio.open_nursery() as nursery:
                serve = partial(trio.serve_tcp, partial(tunnel, tls, port), 0, host="127.0.0.1")
                (listener,) = await nursery.start(serve)
                told.put((listener.socket.getsockname()[1], trio.lowlevel.current_trio_token(), life))

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    own, token, life = told.get(timeout=PATIENCE_S)
    yield f"http://user:canary@127.0.0.1:{own}", tmp_path / "server.pem"
    token.run_sync_soon(life.cancel)
    thread.join()


async def tunnel(tls: ssl.SSLContext, port: int, stream: trio.SocketStream) -> None:
    head = await read_head(stream) or ""
    if not head.startswith("CONNECT exchange.invalid:443 ") or "authorization: basic" not in head.lower():
        return
    await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
    # A client that does not trust the certificate, or hangs up, is what some of the tests are about.
    with contextlib.suppress(BaseExceptionGroup, trio.BrokenResourceError):
        async with (
            await trio.open_tcp_stream("127.0.0.1", port) as behind,
            trio.SSLStream(stream, tls, server_side=True, https_compatible=True) as seen,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(copy, behind, seen)
            await copy(seen, behind)
            nursery.cancel_scope.cancel()


def test_a_pass_goes_through_the_proxy(proxy, exchange, run_inside, redis_url):
    url, authorities = proxy
    arguments = ("reconcile", "--symbols", "BTC-USD", "--timeframes", "1h", "--base-url", "https://exchange.invalid")
    done = run_inside(*arguments, "--ca-file", authorities, "--json", "--redis-url", redis_url, RECONCILER_PROXY=url)
    assert (done.code, done.json["unresolved"], done.json["errors"]) == (0, 0, []), done.err
    assert exchange.requests()
    # By the public authorities the same certificate counts for nothing.
    refused = run_inside(*arguments, "--redis-url", redis_url, "--json", RECONCILER_PROXY=url)
    assert "SSLCertVerificationError: self-signed certificate" in refused.err
    assert "canary" not in done.out + done.err + refused.out + refused.err


def test_an_engine_and_its_workers_go_through_the_proxy(proxy, exchange, start_process, tmp_path):
    url, authorities = proxy
    engine = start_process(
        "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1h", "--workers", "1", "--listen", "off",
        "--base-url", "https://exchange.invalid", "--ca-file", str(authorities), "--data-dir", str(tmp_path / "data"),
        environment=clean_environment(RECONCILER_PROXY=url, HTTPS_PROXY="http://127.0.0.1:1"),
    )  # fmt: skip
    done = engine.wait_event("pass done", job="full_reconcile")
    assert (done["errors"], done["unresolved"]) == ([], 0)
    assert exchange.requests()
    assert engine.stop() == 0
    assert "canary" not in "".join(engine.read_all())

"""The client when its server dies, hangs, refuses or talks nonsense, and when its callers give up."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from tests.integration.fake_redis import GREETING, PING, answering, expect_unavailable, fake_server

from reconciler_engine.errors import StoreError, StoreUnavailable
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis

if TYPE_CHECKING:
    from tests.conftest import OwnServer
PATIENCE_S = 30
"""Bound of what does come; reached only when something is broken."""


async def silent(stream: trio.SocketStream) -> None:
    """Take everything, answer nothing."""
    async for _ in stream:
        pass


class CancelAtStep(trio.abc.Instrument):
    """Cancel a scope when its task has come to its n-th await."""

    def __init__(self, step: int) -> None:
        self.scope = trio.CancelScope()
        self._task = trio.lowlevel.current_task()
        self._left = step

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self.scope.cancel()


async def test_a_call_cancelled_at_any_await_leaves_no_reply_for_the_next(redis_url: str) -> None:
    """The first await, the second, ... until one run is through: connecting, greeting, a command, a pipeline."""
    async with TrioRedis.from_url(redis_url, max_connections=1) as observer:
        step = 0
        finished = False
        while not finished:
            step += 1
            assert step < 200
            async with TrioRedis.from_url(redis_url, max_connections=1) as client:
                canceller = CancelAtStep(step)
                trio.lowlevel.add_instrument(canceller)
                try:
                    with canceller.scope:
                        await client.execute_command("ECHO", f"first {step}")
                        await client.pipe([("INCR", f"n {step}"), ("ECHO", f"second {step}")])
                finally:
                    trio.lowlevel.remove_instrument(canceller)
                finished = not canceller.scope.cancelled_caught
                assert await client.execute_command("ECHO", f"after {step}") == f"after {step}".encode()
            assert await observer.get(f"n {step}") in {None, b"1"}
        assert step >= 5


async def test_a_blocking_read_is_cancelled_at_once_and_costs_one_connection(redis: TrioRedis) -> None:
    with trio.fail_after(PATIENCE_S):
        with trio.move_on_after(0.05) as scope:
            await redis.blpop("list", timeout=30)
        assert scope.cancelled_caught
        await redis.rpush("list", "x")
        # The cancelled reader did not take it.
        assert await redis.blpop("list", timeout=PATIENCE_S) == (b"list", b"x")


async def test_a_blocking_read_outlasts_the_timeout_and_others_go_on(
    redis_url: str, mock_clock: trio.testing.MockClock
) -> None:
    async with TrioRedis.from_url(redis_url, timeout_s=5, max_connections=1) as client:
        await client.xgroup_create("s", "g", mkstream=True)
        async with trio.open_nursery() as nursery:
            found: list[object] = []

            async def read() -> None:
                found.append(await client.xreadgroup("g", "c", {"s": ">"}, block=50_000))

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(54)
            assert await client.ping()
            assert not found
            await client.xadd("s", {"field": "value"})
        assert len(found) == 1


async def test_a_dead_server_ends_a_blocking_read(own_server: OwnServer) -> None:
    with trio.fail_after(PATIENCE_S):
        async with TrioRedis.from_url(own_server.url) as client, trio.open_nursery() as nursery:
            nursery.start_soon(expect_unavailable, client.blpop("list", timeout=50))
            await trio.testing.wait_all_tasks_blocked()
            own_server.kill()


async def test_a_silent_server_ends_a_blocking_read_after_its_wait_and_the_timeout() -> None:
    async with fake_server(answering(GREETING, b"")) as url, TrioRedis.from_url(url, timeout_s=0.2) as client:
        start = trio.current_time()
        with pytest.raises(StoreUnavailable, match=r"within 0\.3 s"):
            await client.blpop("list", timeout=0.1)
        assert trio.current_time() - start >= 0.3


async def test_a_silent_server_is_a_timeout_also_while_connecting() -> None:
    async with fake_server(silent) as url, TrioRedis.from_url(url, timeout_s=0.1) as client:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:\d+/0 did not answer within 0\.1 s"):
            await client.ping()
        with pytest.raises(StoreUnavailable, match=r"within 0\.05 s"):
            await client.execute_command("PING", timeout_s=0.05)


async def test_a_stopped_server_is_a_timeout_and_its_late_replies_meet_nobody(own_server: OwnServer) -> None:
    async with TrioRedis.from_url(own_server.url, timeout_s=PATIENCE_S, max_connections=1) as client:
        assert await client.execute_command("ECHO", "before") == b"before"
        own_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match="did not answer"):
                await client.execute_command("ECHO", "during", timeout_s=0.2)
        finally:
            own_server.signal(signal.SIGCONT)
        await wait_serving(client, PATIENCE_S)
        assert await client.execute_command("ECHO", "after") == b"after"


async def test_a_server_killed_under_a_pipeline_is_unavailable_and_comes_back(own_server: OwnServer) -> None:
    with trio.fail_after(20):
        async with TrioRedis.from_url(own_server.url) as client:
            await client.set("kept", "yes")
            own_server.signal(signal.SIGSTOP)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_unavailable, client.pipe([("INCR", "n")] * 100))
                await trio.testing.wait_all_tasks_blocked()
                own_server.kill()
            with pytest.raises(StoreUnavailable, match="cannot connect to unix"):
                await client.ping()
            own_server.start()
            await wait_serving(client, 10)
            assert await client.get("kept") == b"yes"


async def test_connections_the_server_dropped_while_idle_are_replaced_unseen(redis: TrioRedis, redis_url: str) -> None:
    async with TrioRedis.from_url(redis_url) as killer:
        for count in (1, 2):
            assert await redis.incr("n") == count
            await killer.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        # Each was sent once.
        assert await killer.get("n") == b"2"


async def test_a_command_that_may_have_been_done_is_not_sent_again() -> None:
    seen: list[bytes | bytearray] = []

    async def closes_after_the_command(stream: trio.SocketStream) -> None:
        async for data in stream:
            seen.append(data)
            if b"INCR" in data:
                break
            await stream.send_all(GREETING)
        await stream.aclose()

    async with fake_server(closes_after_the_command) as url, TrioRedis.from_url(url) as client:
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            await client.incr("n")
    assert sum(data.count(b"INCR") for data in seen) == 1


@pytest.mark.parametrize("cut", [b"", b"$", b"$5\r\nab", b"*2\r\n$1\r\na\r\n"])
async def test_a_reply_cut_short_is_unavailable(cut: bytes) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(GREETING)
        await stream.receive_some()
        await stream.send_all(cut)
        await stream.aclose()

    async with fake_server(handler) as url, TrioRedis.from_url(url) as client:
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            await client.get("k")


@pytest.mark.parametrize(
    "nonsense", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"$abc\r\n"]
)
async def test_a_peer_that_is_no_redis_is_said_to_be_none(nonsense: bytes) -> None:
    async with fake_server(answering(nonsense)) as url, TrioRedis.from_url(url, timeout_s=2) as client:
        with pytest.raises(StoreError, match="does not answer in Redis' protocol") as caught:
            await client.ping()
    assert not caught.value.retryable


async def test_noise_on_an_idle_connection_costs_the_connection() -> None:
    greeted = 0

    async def noisy(stream: trio.SocketStream) -> None:
        nonlocal greeted
        greeted += 1
        await stream.receive_some()
        await stream.send_all(GREETING)
        async for _ in stream:
            # One answer too many: it belongs to nobody.
            await stream.send_all(b"$4\r\nmine\r\n$5\r\nother\r\n")

    async with fake_server(noisy) as url, TrioRedis.from_url(url) as client:
        for _ in range(3):
            assert await client.get("k") == b"mine"
    assert greeted == 3


class CountLines:
    """Understands replies of one line."""

    def __init__(self) -> None:
        self.text = b""

    def feed(self, data: bytes | memoryview, /) -> int:
        self.text += data
        if b"-" in self.text:
            raise ValueError("an error reply")
        return self.text.count(b"\n")


async def test_a_conversation_gets_its_own_answers_and_leaves_none(redis: TrioRedis) -> None:
    reader = CountLines()
    await redis.converse(((PING * count, count) for count in (1, 3, 2, 5)), reader)
    assert reader.text == b"+PONG\r\n" * 11
    assert await redis.execute_command("ECHO", "mine") == b"mine"


@pytest.mark.parametrize(
    ("answer", "error", "fault"),
    [
        (b"+PONG\r\n+PONG\r\n", StoreError, "gave 2 answers to 1 commands"),
        (b"-ERR no\r\n", StoreError, "does not answer as asked: an error reply"),
        (b"+PO", StoreUnavailable, "did not answer within 5 s"),
    ],
)
async def test_a_conversation_that_goes_wrong_costs_its_connection(
    answer: bytes, error: type[StoreError], fault: str, mock_clock: trio.testing.MockClock
) -> None:
    answers = answering(GREETING, answer, GREETING, b"$4\r\nmine\r\n")
    async with fake_server(answers) as url, TrioRedis.from_url(url, timeout_s=5) as client:
        reader = CountLines()

        async def converse() -> None:
            with pytest.raises(error, match=fault):
                await client.converse([(PING, 1)], reader)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(converse)
            while not reader.text:
                await trio.lowlevel.checkpoint()
            mock_clock.jump(5)
        assert await client.get("k") == b"mine"


async def test_a_conversation_that_is_not_carried_through_costs_its_connection(redis_url: str) -> None:
    def breaks_off() -> Iterator[tuple[bytes, int]]:
        yield PING, 1
        raise ValueError("of the caller")

    async with TrioRedis.from_url(redis_url, max_connections=1) as client:
        with pytest.raises(ValueError, match="of the caller"):
            await client.converse(breaks_off(), CountLines())
        assert await client.execute_command("ECHO", "mine") == b"mine"


async def test_a_loading_server_is_waited_for() -> None:
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    answers = answering(loading, loading, GREETING, loading, b"+PONG\r\n")
    async with fake_server(answers) as url, TrioRedis.from_url(url) as client:
        with pytest.raises(StoreUnavailable, match="LOADING") as caught:
            await client.ping()
        assert caught.value.code == "LOADING"
        await wait_serving(client, 5)


@pytest.mark.usefixtures("autojump_clock")
async def test_waiting_for_a_server_has_an_end_and_says_what_was_wrong(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with TrioRedis.from_url(f"unix://{tmp_path_factory.mktemp('x')}/none.sock") as client:
        with pytest.raises(StoreUnavailable, match=r"does not serve after 0\.05 s: cannot connect .* No such file"):
            await wait_serving(client, 0.05)


async def test_nobody_listening_is_unavailable() -> None:
    async with fake_server(silent) as url:
        pass
    async with TrioRedis.from_url(url) as client:
        with pytest.raises(StoreUnavailable, match=r"cannot connect to redis://127\.0\.0\.1:.*refused"):
            await client.ping()


class NoNames(trio.abc.HostnameResolver):
    """Knows no name, and asks no network for one."""

    async def getaddrinfo(self, *_: object, **__: object) -> list[Any]:
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


async def test_a_host_that_has_no_address_is_unavailable() -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    async with TrioRedis.from_url("redis://no-such-host.invalid") as client:
        with pytest.raises(StoreUnavailable, match=r"cannot connect to redis://no-such-host\.invalid:6379/0"):
            await client.ping()

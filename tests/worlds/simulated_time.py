"""Hours that pass in seconds: a trio clock that jumps from deadline to deadline, and a real Redis that follows it.

The product's scripts read the server's clock by `redis.call('TIME')`. The client here replaces that one expression by a
read of a key, which holds the simulated instant; all else of a script reaches the server as it is. Lives of the
engine's own keys pass in simulated time, too. Reads that block wait here instead of at the server.
"""

from __future__ import annotations

import hashlib
import math
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import hiredis
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from reconciler_engine.errors import StoreError
from reconciler_engine.steps import Command
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.commands import block_s
from reconciler_engine.store.client.connection import ReplyReader, pack
from reconciler_engine.store.client.node import FixedDoor, Node
from reconciler_engine.store.client.redis_py import reply_error
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served

CLOCK_KEY: Final = "simulated:clock"
_TIME: Final = "redis.call('TIME')"
_INSTANT: Final = f"redis.call('HMGET', '{CLOCK_KEY}', 'seconds', 'microseconds')"
_BLOCKED_S: Final = {"LPOP": 30.0, "XREADGROUP": 300.0}
"""Wait of reads that block, in place of the one they asked for; then the product itself repeats them."""

_REPLY_S: Final = 1e-6
"""How long replies of the server take."""

_SHORTEST_LIFE_S: Final = 1.0
"""Lives of keys are shortened in steps of this at least."""

_READ_SIZE: Final = 128 * 1_024

# Candle keys and the keys beside them live for a day or longer; no simulation lasts so long.
_PASS_ON: Final = """
local elapsed = tonumber(ARGV[3])
if elapsed > 0 then
    for _, key in ipairs(redis.call('KEYS', 'recon:*')) do
        local left = redis.call('PTTL', key)
        if left > elapsed then
            redis.call('PEXPIRE', key, left - elapsed)
        elseif left >= 0 then
            redis.call('DEL', key)
        end
    end
end
redis.call('HSET', KEYS[1], 'seconds', ARGV[1], 'microseconds', ARGV[2])
"""


class SimulatedTime:
    """Time that passes only while nothing can be done; the trio run has its clock."""

    def __init__(self, clock: MockClock, start: int) -> None:
        """Make a time that is `start` (ms UTC) when the run of this clock begins."""
        self._clock = clock
        self._start = start
        self._is_behind = True
        self._aged_s = 0.0
        self._news: defaultdict[str, set[trio.Event]] = defaultdict(set)

    def now(self) -> int:
        """Return the instant (ms UTC)."""
        return self._start + math.floor(trio.current_time() * 1_000 + 1e-3)

    async def sleep_until(self, instant: int) -> None:
        """Sleep until an instant (ms UTC)."""
        await trio.sleep_until((instant - self._start) / 1_000)

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Let the time of this trio run pass for the length of a block."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on)
            yield
            nursery.cancel_scope.cancel()

    async def _pass_on(self) -> None:
        while True:
            await wait_all_tasks_blocked()
            ahead_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
            assert ahead_s < math.inf, "nothing is waited for but replies that never come"
            self._clock.jump(max(ahead_s, 0.0))
            self._is_behind = True

    def catch_up(self) -> Command | None:
        """Return the command that sets the server's clock and shortens the lives of the engine's own keys.

        None where it is right.
        """
        self._clock.jump(_REPLY_S)
        if not self._is_behind:
            return None
        self._is_behind = False
        now_s = trio.current_time()
        elapsed_s = now_s - self._aged_s if now_s - self._aged_s >= _SHORTEST_LIFE_S else 0.0
        self._aged_s += elapsed_s
        seconds, rest = divmod(self._start * 1_000 + round(now_s * 1e6), 1_000_000)
        return ("EVAL", _PASS_ON, 1, CLOCK_KEY, seconds, rest, round(elapsed_s * 1_000))

    def tell(self, keys: Iterable[object]) -> None:
        """Wake those that wait for one of these keys."""
        for key in keys:
            for event in self._news.get(key, ()) if isinstance(key, str) else ():
                event.set()

    @contextmanager
    def listening(self, keys: Sequence[str]) -> Iterator[trio.Event]:
        """Give an event that is set as soon as one of these keys is written."""
        news = trio.Event()
        for key in keys:
            self._news[key].add(news)
        try:
            yield news
        finally:
            for key in keys:
                self._news[key].discard(news)


class _Connections(Node):
    """A server that is asked by one socket, for whose replies the whole process waits: no time passes meanwhile."""

    def __init__(self, address: Address, time: SimulatedTime) -> None:
        super().__init__(FixedDoor(address), str(address), 1, 1)
        self._time = time
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(address.path))
        self._reader = hiredis.Reader(protocolError=StoreError, replyError=reply_error, notEnoughData=self)

    def close(self) -> None:
        """Close every connection."""
        self._socket.close()
        super().close()

    async def exchange(
        self, commands: Sequence[Command], _bound_s: float, _keys: Sequence[str] = (), *, blocks_s: float | None = None
    ) -> list[Any]:
        """Send commands in one write."""
        assert blocks_s is None
        await trio.lowlevel.checkpoint_if_cancelled()
        self._catch_up()
        answers = self._ask(commands)
        await trio.lowlevel.checkpoint()
        return answers

    async def converse(
        self, batches: Iterable[tuple[bytes, int]], reader: ReplyReader, _bound_s: float, _key: str = ""
    ) -> None:
        """Have a conversation."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._catch_up()
        sent = complete = 0
        for payload, commands in batches:
            self._socket.sendall(payload)
            sent += commands
            while complete < sent:
                complete = reader.feed(self._socket.recv(_READ_SIZE))
        await trio.lowlevel.checkpoint()

    def _catch_up(self) -> None:
        command = self._time.catch_up()
        if command is not None:
            all_served(self._ask([command]))

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        self._socket.sendall(b"".join(map(pack, commands)))
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = self._reader.gets()
            if answer is self:
                self._reader.feed(self._socket.recv(_READ_SIZE))
            else:
                answers.append(answer)
        return answers


class SimulatedRedis(TrioRedis):
    """The product's client, to which the server's clock shows the simulated time."""

    def __init__(self, url: str, time: SimulatedTime) -> None:
        super().__init__(Address.parse(url))
        self._servers = _Connections(Address.parse(url), time)
        self._time = time
        self._scripts: dict[str, str] = {}

    async def execute_command(self, *args: str | float | bytes, timeout_s: float | None = None, **options: Any) -> Any:
        """Send one command; one that blocks waits here."""
        if args[0] == "TIME":
            await trio.lowlevel.checkpoint()
            return divmod(self._time.now() * 1_000, 1_000_000)
        if block_s(args) is None:
            reply = await super().execute_command(*self._translated(args), timeout_s=timeout_s, **options)
            self._tell(args, reply)
            return reply
        command, keys = unblocked(args)
        with self._time.listening(keys) as news:
            reply = await super().execute_command(*command)
            if not reply:
                with trio.move_on_after(_BLOCKED_S[str(command[0])]):
                    await news.wait()
                reply = await super().execute_command(*command)
        return (keys[0].encode(), reply) if command[0] == "LPOP" and reply is not None else reply

    async def pipe(self, commands: Sequence[Command], *, timeout_s: float | None = None) -> list[Any]:
        """Send commands in one write."""
        replies = await super().pipe([self._translated(one) for one in commands], timeout_s=timeout_s)
        for command, reply in zip(commands, replies, strict=True):
            self._tell(command, reply)
        return replies

    def _tell(self, command: Command, reply: object) -> None:
        """Wake those that wait for a key of a script: nothing else writes streams and lists.

        One that gives nothing, or 0, has put nothing there, nor has one that keeps a run.
        """
        if command[0] in {"EVAL", "EVALSHA"} and reply:
            keys, arguments = command[3:][: int(command[2])], command[3:][int(command[2]) :]
            if arguments[:1] != ("keep",):
                self._time.tell(keys)

    def _translated(self, args: Command) -> Command:
        """Return a command whose script reads the simulated clock."""
        if args[0] == "EVALSHA":
            return (args[0], self._scripts.get(str(args[1]), args[1]), *args[2:])
        if args[0] != "EVAL" or _TIME not in str(args[1]):
            return args
        return (args[0], self.translate(str(args[1])), *args[2:])

    def translate(self, script: str) -> str:
        """Return a script of which nothing is changed but where it reads the clock; its old hash calls it, too."""
        changed = script.replace(_TIME, _INSTANT)
        assert "'TIME'" not in changed, "a script reads the clock in another way"
        self._scripts[_sha(script)] = _sha(changed)
        return changed


def unblocked(args: Command) -> tuple[Command, list[str]]:
    """Return a command that does not block in the place of one that does, and the keys that it waits for."""
    if args[0] == "BLPOP":
        return ("LPOP", args[1]), [str(args[1])]
    assert args[0] == "XREADGROUP", args
    at = args.index("BLOCK")
    streams = args[args.index("STREAMS") + 1 :]
    return (*args[:at], *args[at + 2 :]), [str(one) for one in streams[: len(streams) // 2]]


def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

"""Conversations over an asyncio client of redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from reconciler_engine.steps import (
    LISTEN_AGAIN_S,
    Ask,
    Command,
    Hear,
    Listen,
    Now,
    Pause,
    Send,
    Split,
    Step,
    Steps,
    drive,
)
from reconciler_engine.store.drivers.redis_py_clients import CONFIRMED_WITHIN_S, DENIALS, LOST, REPLY_ERRORS, by_node

_T = TypeVar("_T")


async def converse(client: Any, steps: Steps[_T]) -> _T:
    """Carry out the steps of a conversation and return its result; redis-py's errors are raised as they are."""
    driver = _AsyncioDriver(client)
    try:
        return await drive(steps, driver.do)
    finally:
        await driver.hang_up()


class _AsyncioDriver:
    def __init__(self, client: Any) -> None:
        self._client = client
        self._channels: tuple[str, ...] = ()
        self._subscription: Any = None

    async def do(self, step: Step) -> Any:
        """Carry out one step and return its result."""
        if isinstance(step, Send) and step.last_s is not None:
            return await _in_spite_of_cancels(self._send(step.commands), step.last_s)
        return await _heeding_cancels(self._do(step))

    async def _do(self, step: Step) -> Any:
        match step:
            case Send(commands):
                return await self._send(commands)
            case Split(keys):
                return by_node(keys, getattr(self._client, "get_node_from_key", None))
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Now():
                return asyncio.get_running_loop().time()
            case Listen(channels):
                self._channels = (*channels,)
                return await self._listen()
            case Hear(seconds):
                return await self._hear(seconds)
            case Ask():
                raise TypeError("a client is sent commands, not questions of one script")

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        if len(commands) == 1:
            try:
                return [await self._client.execute_command(*commands[0], NEVER_DECODE=True)]
            except REPLY_ERRORS as error:
                return [error]
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command, NEVER_DECODE=True)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies

    async def _listen(self) -> None:
        subscription = self._client.pubsub()
        try:
            # A cluster's client learns its nodes by its first command, of which a subscription is none.
            await self._client.initialize()
            await subscription.subscribe(*self._channels)
            for _ in self._channels:
                await subscription.get_message(timeout=CONFIRMED_WITHIN_S)
        except DENIALS:
            self._channels = ()
            await subscription.aclose()
        except LOST:
            await subscription.aclose()
        except BaseException:
            await subscription.aclose()
            raise
        else:
            self._subscription = subscription

    async def _hear(self, seconds: float) -> None:
        if not self._channels:
            await asyncio.sleep(seconds)
        elif self._subscription is None:
            await asyncio.sleep(min(seconds, LISTEN_AGAIN_S))
            await self._listen()
        else:
            try:
                # The word that a lost subscription stands again is a message, too.
                if await self._subscription.get_message(timeout=seconds) is not None:
                    while await self._subscription.get_message(timeout=0) is not None:
                        pass
            except LOST:
                await self.hang_up()

    async def hang_up(self) -> None:
        """End the subscription, where there is one."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.aclose()


async def _heeding_cancels(sending: Coroutine[Any, Any, _T]) -> _T:
    """Await something; a cancel meanwhile is raised here at the latest, since redis-py loses some."""
    me = cast("asyncio.Task[Any]", asyncio.current_task())
    before = me.cancelling()
    result = await sending
    if me.cancelling() > before:
        raise asyncio.CancelledError
    return result


async def _in_spite_of_cancels(sending: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """Await something for so many seconds at most; a cancel meanwhile comes at the next await instead.

    Raises:
        TimeoutError: It took longer.
    """
    me, task = cast("asyncio.Task[Any]", asyncio.current_task()), asyncio.ensure_future(sending)
    loop, cancels = asyncio.get_running_loop(), 0
    deadline = loop.time() + seconds
    while not task.done() and loop.time() < deadline:
        try:
            await asyncio.wait({task}, timeout=deadline - loop.time())
        except asyncio.CancelledError:
            me.uncancel()
            cancels += 1
    for _ in range(cancels):
        me.cancel()
    if task.done():
        return task.result()
    task.cancel()
    raise TimeoutError(f"no answer within {seconds:g} s")

"""Conversations over an asyncio client of redis-py."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from reconciler_engine.steps import Command, Send, Step, Steps, drive
from reconciler_engine.store.drivers.redis_py_clients import REPLY_ERRORS
from reconciler_engine.store.drivers.redis_py_driver import RedisPyDriver

_T = TypeVar("_T")


async def converse(client: Any, steps: Steps[_T]) -> _T:
    """Carry out the steps of a conversation and return its result; redis-py's errors are raised as they are."""
    driver = _AsyncioDriver(client)
    try:
        return await drive(steps, driver.do)
    finally:
        await driver.hang_up()


class _AsyncioDriver(RedisPyDriver):
    async def do(self, step: Step) -> Any:
        """Carry out one step and return its result."""
        if isinstance(step, Send) and step.last_s is not None:
            return await _in_spite_of_cancels(self._send(step.commands), step.last_s)
        return await _heeding_cancels(super().do(step))

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

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _prepare(self) -> None:
        # A cluster's client learns its nodes at its first command, and a subscription does not count as one.
        await self._client.initialize()

    async def _close(self, subscription: Any) -> None:
        await subscription.aclose()


async def _heeding_cancels(sending: Coroutine[Any, Any, _T]) -> _T:
    """Await `sending`, then raise CancelledError if a cancellation came meanwhile: redis-py swallows some."""
    me = cast("asyncio.Task[Any]", asyncio.current_task())
    before = me.cancelling()
    result = await sending
    if me.cancelling() > before:
        raise asyncio.CancelledError
    return result


async def _in_spite_of_cancels(sending: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """Await `sending` for at most `seconds`. A cancellation meanwhile is delivered at the caller's next await.

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

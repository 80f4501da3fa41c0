"""Conversations over our own trio client."""

from __future__ import annotations

from typing import Any, TypeVar

import trio

from reconciler_engine.errors import StoreDenied, StoreError
from reconciler_engine.steps import LISTEN_AGAIN_S, Ask, Hear, Listen, Now, Pause, Send, Split, Step, Steps, drive
from reconciler_engine.store.client.subscription import Subscription
from reconciler_engine.store.client.trio_redis import TrioRedis

_T = TypeVar("_T")


async def converse(client: TrioRedis, steps: Steps[_T]) -> _T:
    """Carry out the steps of a conversation and return its result.

    Raises:
        StoreError: Redis did not answer, and the conversation cannot go on without an answer.
    """
    driver = _TrioDriver(client)
    try:
        return await drive(steps, driver.do)
    finally:
        driver.hang_up()


class _TrioDriver:
    def __init__(self, client: TrioRedis) -> None:
        self._client = client
        self._channels: tuple[str, ...] = ()
        self._subscription: Subscription | None = None

    async def do(self, step: Step) -> Any:
        """Carry out one step and return its result."""
        match step:
            case Send(commands, last_s):
                with trio.CancelScope(shield=last_s is not None):
                    return await self._client.pipe(commands, timeout_s=last_s)
            case Split(keys):
                return await self._client.split(keys)
            case Pause(seconds):
                return await trio.sleep(seconds)
            case Now():
                return trio.current_time()
            case Listen(channels):
                self._channels = (*channels,)
                return await self._listen()
            case Hear(seconds):
                return await self._hear(seconds)
            case Ask():
                raise TypeError("this driver carries out commands, not Ask")

    async def _listen(self) -> None:
        try:
            self._subscription = await self._client.subscribe(self._channels)
        except StoreDenied:
            self._channels = ()
        except StoreError:
            self._subscription = None

    async def _hear(self, seconds: float) -> None:
        if not self._channels:
            await trio.sleep(seconds)
        elif self._subscription is None:
            await trio.sleep(min(seconds, LISTEN_AGAIN_S))
            await self._listen()
        else:
            with trio.move_on_after(seconds):
                try:
                    await self._subscription.hear()
                except StoreError:
                    self.hang_up()

    def hang_up(self) -> None:
        """Close the subscription, if there is one."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

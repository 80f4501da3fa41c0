"""Driver of conversations over a client of redis-py, synchronous or asynchronous."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from reconciler_engine.steps import LISTEN_AGAIN_S, Ask, Command, Hear, Listen, Now, Pause, Send, Split, Step
from reconciler_engine.store.drivers.redis_py_clients import CONFIRMED_WITHIN_S, DENIALS, LOST, by_node


class RedisPyDriver:
    """Carries out steps. With a synchronous client its coroutines block and never suspend."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._channels: tuple[str, ...] = ()
        self._subscription: Any = None

    async def do(self, step: Step) -> Any:
        """Carry out one step and return its result."""
        match step:
            case Send(commands):
                return await self._send(commands)
            case Split(keys):
                return by_node(keys, getattr(self._client, "get_node_from_key", None))
            case Pause(seconds):
                return await self._sleep(seconds)
            case Now():
                return self._now()
            case Listen(channels):
                self._channels = (*channels,)
                return await self._listen()
            case Hear(seconds):
                return await self._hear(seconds)
            case Ask():
                raise TypeError("this driver carries out commands, not Ask")

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        raise NotImplementedError

    async def _sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def _now(self) -> float:
        raise NotImplementedError

    async def _prepare(self) -> None:
        """Prepare the client for a subscription."""

    async def _close(self, subscription: Any) -> None:
        raise NotImplementedError

    async def _listen(self) -> None:
        subscription = self._client.pubsub()
        try:
            await self._prepare()
            await _settled(subscription.subscribe(*self._channels))
            for _ in self._channels:
                await _settled(subscription.get_message(timeout=CONFIRMED_WITHIN_S))
        except DENIALS:
            self._channels = ()
            await self._close(subscription)
        except LOST:
            await self._close(subscription)
        except BaseException:
            await self._close(subscription)
            raise
        else:
            self._subscription = subscription

    async def _hear(self, seconds: float) -> None:
        if not self._channels:
            await self._sleep(seconds)
        elif self._subscription is None:
            await self._sleep(min(seconds, LISTEN_AGAIN_S))
            await self._listen()
        else:
            try:
                # The confirmation of a renewed subscription is a message, too.
                if await _settled(self._subscription.get_message(timeout=seconds)) is not None:
                    while await _settled(self._subscription.get_message(timeout=0)) is not None:
                        pass
            except LOST:
                await self.hang_up()

    async def hang_up(self) -> None:
        """Close the subscription, if there is one."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._close(subscription)


async def _settled(result: Any) -> Any:
    """Return the result of a call; await it if the client is asynchronous."""
    return await result if inspect.isawaitable(result) else result

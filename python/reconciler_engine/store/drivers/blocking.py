"""Conversations over a synchronous client of redis-py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

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
    drive_blocking,
)
from reconciler_engine.store.client.commands import keys_of
from reconciler_engine.store.drivers.redis_py_clients import (
    CONFIRMED_WITHIN_S,
    DENIALS,
    LOST,
    REPLY_ERRORS,
    SyncRedis,
    by_node,
)

_T = TypeVar("_T")


def converse(client: SyncRedis, steps: Steps[_T]) -> _T:
    """Carry out the steps of a conversation and return its result; redis-py's errors are raised as they are."""
    driver = _BlockingDriver(client)
    try:
        return drive_blocking(steps, driver.do)
    finally:
        driver.hang_up()


class _BlockingDriver:
    def __init__(self, client: SyncRedis) -> None:
        self._client = client
        self._channels: tuple[str, ...] = ()
        self._subscription: Any = None

    def do(self, step: Step) -> Any:
        """Carry out one step and return its result."""
        match step:
            case Send(commands):
                return self._send(commands)
            case Split(keys):
                return by_node(keys, getattr(self._client, "get_node_from_key", None))
            case Pause(seconds):
                return time.sleep(seconds)
            case Now():
                return time.monotonic()
            case Listen(channels):
                self._channels = (*channels,)
                return self._listen()
            case Hear(seconds):
                return self._hear(seconds)
            case Ask():
                raise TypeError("a client is sent commands, not questions of one script")

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        if len(commands) == 1:
            try:
                return [self._client.execute_command(*commands[0], NEVER_DECODE=True)]
            except REPLY_ERRORS as error:
                return [error]
        with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command, NEVER_DECODE=True, **self._target(command))
            replies: list[Any] = pipe.execute(raise_on_error=False)
            return replies

    def _target(self, command: Command) -> dict[str, Any]:
        """Name a cluster's node: its client would ask the server which keys the command has."""
        node_of = getattr(self._client, "get_node_from_key", None)
        return {} if node_of is None else {"target_nodes": node_of(keys_of(command)[0])}

    def _listen(self) -> None:
        subscription = self._client.pubsub()
        try:
            subscription.subscribe(*self._channels)
            for _ in self._channels:
                subscription.get_message(timeout=CONFIRMED_WITHIN_S)
            self._subscription = subscription
        except DENIALS:
            self._channels = ()
            subscription.close()
        except LOST:
            subscription.close()

    def _hear(self, seconds: float) -> None:
        if not self._channels:
            time.sleep(seconds)
        elif self._subscription is None:
            time.sleep(min(seconds, LISTEN_AGAIN_S))
            self._listen()
        else:
            try:
                # The word that a lost subscription stands again is a message, too.
                if self._subscription.get_message(timeout=seconds) is not None:
                    while self._subscription.get_message(timeout=0) is not None:
                        pass
            except LOST:
                self.hang_up()

    def hang_up(self) -> None:
        """End the subscription, where there is one."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

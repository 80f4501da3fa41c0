"""Conversations over a synchronous client of redis-py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar

from reconciler_engine.steps import Command, Steps, at_once, drive
from reconciler_engine.store.client.commands import keys_of
from reconciler_engine.store.drivers.redis_py_clients import REPLY_ERRORS, SyncRedis
from reconciler_engine.store.drivers.redis_py_driver import RedisPyDriver

_T = TypeVar("_T")


def converse(client: SyncRedis, steps: Steps[_T]) -> _T:
    """Carry out the steps of a conversation and return its result; redis-py's errors are raised as they are."""
    driver = _BlockingDriver(client)
    try:
        return at_once(drive(steps, driver.do))
    finally:
        at_once(driver.hang_up())


class _BlockingDriver(RedisPyDriver):
    async def _send(self, commands: Sequence[Command]) -> list[Any]:
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
        """Return the option that names a cluster's node, so that the client does not ask the server for the keys."""
        node_of = getattr(self._client, "get_node_from_key", None)
        return {} if node_of is None else {"target_nodes": node_of(keys_of(command)[0])}

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  the whole conversation blocks

    def _now(self) -> float:
        return time.monotonic()

    async def _close(self, subscription: Any) -> None:
        subscription.close()

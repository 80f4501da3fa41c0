"""Retries a worker's steps while Redis is away; the log gets one line for all waiting steps."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from random import random
from typing import TypeVar

import trio

from reconciler_engine.errors import StoreError
from reconciler_engine.planning.backoff import Backoff

_AWAY = Backoff(base_ms=200, cap_ms=2_000)
"""Pauses between tries: work goes on within 5 s of Redis' return."""

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class RedisRetry:
    """Retries repeatable steps without a limit while Redis is away, full or read-only, or denies the command."""

    def __init__(self) -> None:
        self._waiting = 0
        self.failures = 0
        """Number of failed steps so far."""

    async def retry_while_redis_is_away(
        self, step: Callable[[], Awaitable[_T]], pause: Callable[[float], Awaitable[None]] = trio.sleep
    ) -> _T:
        """Return the result of `step`, called again after a `pause` (s) for as long as it raises a `StoreError`."""
        failures = 0
        with ExitStack() as waiting:
            while True:
                try:
                    return await step()
                except StoreError as error:
                    failures += 1
                    self.failures += 1
                    if failures == 1:
                        waiting.enter_context(self._wait(error))
                    await pause(_AWAY.delay_ms(failures, random()) / 1_000)

    @contextmanager
    def _wait(self, error: StoreError) -> Iterator[None]:
        """Count a waiting step for the length of a block.

        Log when the first step begins to wait, and when the last one has succeeded.
        """
        self._waiting += 1
        if self._waiting == 1:
            _logger.warning("waiting for Redis", extra={"error": str(error)})
        try:
            yield
            if self._waiting == 1:
                _logger.info("Redis serves again")
        finally:
            self._waiting -= 1

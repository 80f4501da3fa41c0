"""Cooperative shutdown: cancels waits, lets started work finish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Drained(Exception):
    """A wait was cut short by a shutdown; the waiting task goes back to the queue for another worker."""


class Drain:
    """Cancels every `waiting` block once `begin` is called, blocks that are entered later included."""

    def __init__(self) -> None:
        self._waits: set[trio.CancelScope] = set()
        self._has_begun = False

    def begin(self) -> None:
        """Cancel all present and future waits."""
        self._has_begun = True
        for wait in self._waits:
            wait.cancel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let `begin` cancel the block.

        Raises:
            Drained: `begin` cancelled the block.
        """
        with trio.CancelScope() as wait:
            if self._has_begun:
                wait.cancel()
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)
        if wait.cancelled_caught:
            raise Drained

    async def sleep(self, seconds: float) -> None:
        """Sleep until the time is over or `begin` is called.

        Raises:
            Drained: `begin` ended the sleep.
        """
        with self.waiting():
            await trio.sleep(seconds)

"""Cooperative shutdown: cancels waits, lets started work finish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Drained(Exception):
    """A wait was cut short because nothing new is begun any more; others get the task it was for."""


class Drain:
    """Ends every wait that is marked as one, from `begin` on."""

    def __init__(self) -> None:
        self._waits: set[trio.CancelScope] = set()
        self._has_begun = False

    def begin(self) -> None:
        """End the waits."""
        self._has_begun = True
        for wait in self._waits:
            wait.cancel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a block as a wait.

        Raises:
            Drained: It was ended.
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
        """Sleep, as a wait.

        Raises:
            Drained: It was ended.
        """
        with self.waiting():
            await trio.sleep(seconds)

"""The end of waiting: who is told to finish gives up what it only waits for, and finishes what is under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Drained(Exception):
    """A wait was given up, since nothing new is begun any more; what it was for is left to others."""


class Drain:
    """Begun once, ends every wait that is marked as one, and those that come later."""

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

"""Reads that many ask for: one at a time, each kept for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

_MOST = 16


class KeptReads(Generic[T]):
    """Answers of reads by their question; at most `_MOST` of them are kept, the newest ones."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._turn = trio.Lock()
        self._answers: dict[Hashable, tuple[float, T]] = {}

    async def get(self, asked: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return the answer that is kept, else read it."""
        async with self._turn:
            kept = self._answers.pop(asked, None)
            if kept is None or trio.current_time() - kept[0] >= self._kept_s:
                answer = await read()
                kept = (trio.current_time(), answer)
            self._answers[asked] = kept
            while len(self._answers) > _MOST:
                self._answers.pop(next(iter(self._answers)))
            return kept[1]

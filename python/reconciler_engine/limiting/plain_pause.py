"""The budget of a process without Redis: a fixed pause before each request."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from reconciler_engine.limiting.breaker import DENIALS, STOP_US, Fate
from reconciler_engine.limiting.permit_steps import Reply

_PAUSE_S = 1.0


class PlainPause:
    """Replaces the bucket's script: grants a permit a second, to this process only.

    It obeys pauses that the exchange asks for, and stops a key that was refused `DENIALS` times in a row.
    """

    def __init__(self) -> None:
        self._paused_until = 0.0
        self._denied = 0
        self._status = 0

    async def __call__(self, *, keys: Sequence[str], args: Sequence[int | str]) -> list[int]:
        """Reply like the script, to the operations that a single process needs."""
        del keys
        match args[0]:
            case "reserve":
                return self._reserve(int(args[1]))
            case "confirm":
                return [Reply.GRANTED, 0]
            case "push":
                self._paused_until = trio.current_time() + int(args[1]) / 1_000_000
            case "report" if args[2] == Fate.DENIED:
                self._denied, self._status = self._denied + 1, int(args[3])
            case "report" if args[2] == Fate.SERVED:
                self._denied = 0
        return [self._denied, STOP_US if self._is_stopped() else 0]

    def _reserve(self, max_wait_us: int) -> list[int]:
        if self._is_stopped():
            return [Reply.STOPPED, STOP_US, self._status]
        wait_us = round(max(_PAUSE_S, self._paused_until - trio.current_time()) * 1_000_000)
        if wait_us > max_wait_us:
            return [Reply.REFUSED, wait_us]
        return [Reply.GRANTED, wait_us, 0, 0, 0]

    def _is_stopped(self) -> bool:
        return self._denied >= DENIALS

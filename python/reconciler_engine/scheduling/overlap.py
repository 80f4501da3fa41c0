"""The overlap guard: one run of a job at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from reconciler_engine.errors import ReconcilerError
from reconciler_engine.scheduling.ticks import Tick

# The store's own timeouts are shorter; a question that hangs must not silence the job.
_ASK_LIMIT_S = 10

HeldElsewhere = Callable[[Tick], Awaitable[bool]]
"""Asks whether a tick must not run here: its job's last run is open outside this process (its record in Redis), or
another node took the tick."""


class GuardHeld(ReconcilerError):
    """Another run of the job is still open, here or elsewhere."""

    retryable = True

    def __init__(self, job: str, *, elsewhere: bool) -> None:
        self.job = job
        self.elsewhere = elsewhere
        super().__init__(f"job {job!r} is still running{' elsewhere' if elsewhere else ''}")


class OverlapGuard:
    """Lets one run of a job in at a time; a second is turned away, never queued.

    There is no release: the guard is held exactly as long as the nursery that `hold` opens, and leaving that frees
    it, by whichever way it is left. `held_elsewhere` is asked with the guard already held here, so two questions
    never overlap; one that takes more than 10 s is given up.
    """

    def __init__(self, held_elsewhere: HeldElsewhere | None = None) -> None:
        self._held_elsewhere = held_elsewhere
        self._is_held = False

    @property
    def is_held(self) -> bool:
        """Whether a run is open here."""
        return self._is_held

    @asynccontextmanager
    async def hold(self, tick: Tick) -> AsyncIterator[trio.Nursery]:
        """Hold the guard for `tick` while the nursery that this yields is open.

        Raises:
            GuardHeld: A run is open, here or elsewhere; at once, without waiting for it.
            trio.TooSlowError: `held_elsewhere` did not answer in time.
            Exception: Whatever `held_elsewhere` raised.
        """
        if self._is_held:
            raise GuardHeld(tick.job, elsewhere=False)
        self._is_held = True
        try:
            if self._held_elsewhere is not None:
                with trio.fail_after(_ASK_LIMIT_S):
                    is_elsewhere = await self._held_elsewhere(tick)
                if is_elsewhere:
                    raise GuardHeld(tick.job, elsewhere=True)
            async with trio.open_nursery() as nursery:
                yield nursery
        finally:
            self._is_held = False

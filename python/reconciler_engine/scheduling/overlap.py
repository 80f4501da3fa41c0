"""The overlap guard: one run of a job at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import trio

from reconciler_engine.errors import ReconcilerError
from reconciler_engine.scheduling.ticks import Tick

# The store's own timeouts are shorter; a question that hangs must not silence the job.
_ASK_LIMIT_S = 10

Claim = Callable[[Tick], AbstractAsyncContextManager[bool]]
"""Claims a tick among all processes, for the length of a block; gives False where it must not run here: a run of its
job is open outside this process, or another node took the tick."""


class GuardHeld(ReconcilerError):
    """Another run of the job is still open, here or elsewhere."""

    retryable = True

    def __init__(self, job: str, *, elsewhere: bool) -> None:
        self.job = job
        self.elsewhere = elsewhere
        super().__init__(f"job {job!r} is still running{' elsewhere' if elsewhere else ''}")


class OverlapGuard:
    """Lets one run of a job in at a time; a second is turned away, never queued.

    The guard and the claim are held exactly as long as the nursery that `hold` opens. Leaving it in any way frees them;
    nothing else does. The claim is made with the guard already held here, so two never
    overlap; one that takes more than 10 s is given up. `is_held` says whether a run is open here.
    """

    def __init__(self, claim: Claim | None = None) -> None:
        self._claim = claim
        self.is_held = False

    @asynccontextmanager
    async def hold(self, tick: Tick) -> AsyncIterator[trio.Nursery]:
        """Hold the guard for `tick` while the nursery that this yields is open.

        Raises:
            GuardHeld: A run is open, here or elsewhere; at once, without waiting for it.
            trio.TooSlowError: The claim was not answered in time.
            Exception: Any error of the claim.
        """
        if self.is_held:
            raise GuardHeld(tick.job, elsewhere=False)
        self.is_held = True
        try:
            async with AsyncExitStack() as stack:
                if self._claim is not None:
                    with trio.fail_after(_ASK_LIMIT_S):
                        is_ours = await stack.enter_async_context(self._claim(tick))
                    if not is_ours:
                        raise GuardHeld(tick.job, elsewhere=True)
                async with trio.open_nursery() as nursery:
                    yield nursery
        finally:
            self.is_held = False

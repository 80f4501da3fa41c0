"""The runs of one job: carry each tick to its end, one run at a time, and keep the job's statistics."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace

import trio

from reconciler_engine.errors import ReconcilerError, leaves
from reconciler_engine.observe.words import describe_span
from reconciler_engine.scheduling.events import (
    Degraded,
    Event,
    JobStatistics,
    Outcome,
    RunFinished,
    RunStarted,
    SlotSkipped,
    SlotsMissed,
)
from reconciler_engine.scheduling.job import Job
from reconciler_engine.scheduling.ticks import Missed, Tick, TickReason

_LOG = logging.getLogger(__name__)
_LONGEST_ERROR = 500
# Longer than the store's own timeouts. Without it, a claim that hangs would stop the job for good.
_ASK_LIMIT_S = 10

Claim = Callable[[Tick], AbstractAsyncContextManager[bool]]
"""Claims a tick among all processes for the length of a `with` block. Its value is False if the tick must not run here:
another process has an open run of the job, or took this tick."""


class JobRuns:
    """Carries a job's ticks to their end: each is run, skipped or missed.

    `emit` receives every event and must not raise. Once `stopping` is set, runs that still wait for their jitter are
    missed.
    """

    def __init__(self, job: Job, guard: OverlapGuard, emit: Callable[[Event], None], stopping: trio.Event) -> None:
        self.job = job
        self._guard = guard
        self._emit = emit
        self._stopping = stopping
        self._figures = JobStatistics(job.name)

    def statistics(self, next_slot: int | None) -> JobStatistics:
        """Return the current statistics."""
        return replace(self._figures, next_slot=next_slot, is_running=self._guard.is_held)

    def miss(self, missed: Missed, era: int) -> None:
        """Record, log and report missed slots."""
        self._figures = replace(self._figures, missed=self._figures.missed + missed.count)
        facts = {"count": missed.count, "first": missed.first, "last": missed.last}
        _LOG.warning("slots missed", extra={"job": self.job.name, **facts})
        self._emit(SlotsMissed(self.job.name, missed, era))

    async def attempt(self, tick: Tick) -> None:
        """Run `tick` if the guard is free. Exceptions of the run are logged, not raised; cancellation propagates."""
        is_ended = False
        try:
            async with self._guard.hold(tick):
                await self._wait_jitter(tick)
                if not self._stopping.is_set():
                    is_ended = True
                    await self._perform(tick)
        except GuardHeld as held:
            is_ended = True
            self._skip(tick, None, elsewhere=held.elsewhere)
        except Exception as error:  # noqa: BLE001 - the claim failed; errors of a run end in _perform
            is_ended = True
            self._skip(tick, _text(error))
        finally:
            if not is_ended:
                self.miss(Missed(tick.slot, tick.slot, 1), tick.era)

    async def _wait_jitter(self, tick: Tick) -> None:
        delay = 0 if tick.reason is TickReason.TRIGGER else self.job.delay(tick)
        if delay:
            with trio.move_on_after(delay / 1_000):
                await self._stopping.wait()

    async def _perform(self, tick: Tick) -> None:
        self._figures = replace(self._figures, runs=self._figures.runs + 1)
        self._emit(RunStarted(tick))
        limit_ms = self.job.run_limit(tick)
        begin = trio.current_time()
        scope = trio.CancelScope(deadline=math.inf if limit_ms is None else begin + limit_ms / 1_000)
        outcome, error = Outcome.CANCELLED, None
        raised: BaseException | None = None
        try:
            with scope:
                returned = await self.job.run(tick)
                outcome = Outcome.DONE
                if isinstance(returned, Degraded):
                    outcome, error = Outcome.DEGRADED, returned.why[:_LONGEST_ERROR]
            if outcome is Outcome.CANCELLED:
                outcome, error = Outcome.TIMED_OUT, f"timed out after {describe_span(limit_ms)}"
        except* Exception as group:  # noqa: BLE001 - a job may raise anything; it is kept, counted and logged
            outcome = Outcome.TIMED_OUT if scope.cancel_called else Outcome.FAILED
            raised = group.exceptions[0] if len(group.exceptions) == 1 else group
            error = _text(raised)
        finally:
            duration_ms = round((trio.current_time() - begin) * 1_000)
            facts = {"job": tick.job, "slot": tick.slot, "outcome": outcome.value, "duration_ms": duration_ms}
            level = logging.DEBUG if outcome in {Outcome.DONE, Outcome.DEGRADED, Outcome.CANCELLED} else logging.ERROR
            # The message of a ReconcilerError suffices; any other error is logged with its traceback.
            ours = raised is None or all(isinstance(leaf, ReconcilerError) for leaf in leaves(raised))
            _LOG.log(level, "run over", extra={**facts, "error": error}, exc_info=None if ours else raised)
            self._finish(RunFinished(tick, outcome, duration_ms, error))

    def _finish(self, finished: RunFinished) -> None:
        figures = self._figures
        self._figures = replace(
            figures,
            failed=figures.failed + (finished.outcome is Outcome.FAILED),
            timed_out=figures.timed_out + (finished.outcome is Outcome.TIMED_OUT),
            last_error=finished.error or figures.last_error,
            last_duration_ms=finished.duration_ms,
        )
        self._emit(finished)

    def _skip(self, tick: Tick, error: str | None, *, elsewhere: bool = False) -> None:
        figures = self._figures
        self._figures = replace(figures, skipped=figures.skipped + 1, last_error=error or figures.last_error)
        why = "a run is still open" if error is None else f"cannot read whether a run is open: {error}"
        facts = {"job": tick.job, "slot": tick.slot, "reason": why, "summary": f"{tick.job:<14}  {why}"}
        # An open run is normal, so this is not logged as a warning.
        level = logging.INFO if error is None else logging.WARNING
        _LOG.log(level, "tick skipped", extra=facts if error is None else {**facts, "error": error})
        self._emit(SlotSkipped(tick, error, elsewhere))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]


class GuardHeld(ReconcilerError):
    """Another run of the job is still open, in this process or in another one (`elsewhere`)."""

    retryable = True

    def __init__(self, job: str, *, elsewhere: bool) -> None:
        self.job = job
        self.elsewhere = elsewhere
        super().__init__(f"job {job!r} is still running{' elsewhere' if elsewhere else ''}")


class OverlapGuard:
    """Admits one run of a job at a time. A second one is refused, not queued.

    The guard and the claim are held exactly as long as the nursery that `hold` opens. The claim is made while the guard
    is held, so two claims of this process never overlap. A claim that takes more than 10 s is given up.

    Attributes:
        is_held: Whether a run is open in this process.
    """

    def __init__(self, claim: Claim | None = None) -> None:
        self._claim = claim
        self.is_held = False

    @asynccontextmanager
    async def hold(self, tick: Tick) -> AsyncIterator[trio.Nursery]:
        """Hold the guard for `tick` while the yielded nursery is open.

        Raises:
            GuardHeld: A run is open, here or elsewhere. Raised without waiting for its end.
            trio.TooSlowError: The claim took more than 10 s.
            Exception: The claim failed with this error.
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

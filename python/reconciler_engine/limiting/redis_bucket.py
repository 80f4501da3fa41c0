"""The token bucket in Redis (token_bucket.lua), shared by all workers of all machines."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass, fields
from importlib.resources import files
from typing import Any, Final, Protocol, TypeVar

import trio

from reconciler_engine.limiting.breaker import Breaker
from reconciler_engine.limiting.budget import WHOLE_PPM, Budget, stretched_us
from reconciler_engine.limiting.permit_steps import DEFAULT_MAX_WAIT_S, Permit, PermitSteps
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.observe.metrics import PERMIT_SECONDS, PERMITS_LOST
from reconciler_engine.steps import Ask, Now, Pause, Step, Steps, drive

_BREAKER_FIELDS: Final = len(fields(Breaker))
_T = TypeVar("_T")


def script_text() -> str:
    """Return the Lua source of the bucket and its breaker."""
    folder = files("reconciler_engine.limiting")
    parts = ("permit_header", "origin", "breaker", "token_bucket")
    return "".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in parts)


class RunScript(Protocol):
    """Function that runs the bucket's script once in Redis; it raises if Redis is unreachable."""

    async def __call__(self, *, keys: Sequence[str], args: Sequence[int | str]) -> Any:
        """Run the script with the keys of the bucket and the breaker, and return its reply."""


@dataclass(frozen=True, slots=True)
class BucketStatistics:
    """State of the budget and the breaker at one moment.

    Attributes:
        rate_per_s: Configured permits a second, in the long run.
        share: Fraction of that rate that is granted now; below 1 after the exchange limited the rate of requests.
        slowed_by: HTTP status of the refusal that lowered the share; 0 if the share is 1.
        burst: Number of permits in a full bucket.
        available: Number of permits that could be granted at this moment.
        waiting: Number of reservations of all workers whose slot is ahead, including cancelled and void ones.
        wait_ms: Time that a new reservation would wait.
        paused_ms: Time left of a pause that the exchange asked for.
        granted: Number of permits granted since the bucket was made.
        voided: Number of this process's reservations that became void and were repeated.
        breaker: State of the breaker.
        stopped_ms: Time for which the identity is still stopped, because its key was refused; 0 if it is not.
    """

    rate_per_s: float
    share: float
    slowed_by: int
    burst: int
    available: int
    waiting: int
    wait_ms: int
    paused_ms: int
    granted: int
    voided: int
    breaker: Breaker
    stopped_ms: int

    @property
    def state(self) -> str:
        """State of the breaker as a word: `closed`, `probing`, `gone` or `stopped`."""
        if self.stopped_ms:
            return "stopped"
        if self.breaker.is_gone:
            return "gone"
        return "probing" if self.breaker.is_alone else "closed"


class TokenBucket:
    """Access to one budget and one breaker. Any number of tasks may wait, and are served in the order of their calls.

    A waiter reserves a slot, sleeps until then, and confirms the slot before it gets the permit. A pause that the
    exchange asked for, a loss of Redis's data or a stalled process makes the reservation void. A cancelled waiter
    wastes its slot and has no other effect. While Redis is unreachable no permit is granted, and its error is raised.

    Before it sends, a caller must check `Permit.is_valid`: a permit that is too old must be given back and replaced by
    a new one.

    Attributes:
        budget: The budget.
        is_for_key: Whether permits are for signed requests, so that the breaker belongs to an API key.
    """

    def __init__(
        self,
        run: RunScript,
        key: str,
        budget: Budget,
        *,
        breaker: str | None = None,
        count: Callable[[], Awaitable[None]] | None = None,
        is_measured: bool = True,
    ) -> None:
        """Access a bucket.

        Args:
            run: Runs the bucket's script.
            key: Redis key of the bucket.
            budget: The budget.
            breaker: Redis key of an API key's breaker; by default the bucket has its own breaker.
            count: Adds a request to the account.
            is_measured: Whether permits are counted in metrics; not if they only pace work that sends no requests.
        """
        self._is_measured = is_measured
        self._count = count
        self._run = run
        self.is_for_key: Final = breaker is not None
        self._keys = (key, f"{key}:breaker" if breaker is None else breaker)
        self.budget: Final = budget
        self._limits = [number for limit in budget.limits for number in (limit.interval_us, limit.tolerance_us)]
        self.steps: Final = PermitSteps(_ask, self._limits, budget.lateness_us, self._note_lost)
        self._voided = 0

    async def wait_permit(self, max_wait_s: float = DEFAULT_MAX_WAIT_S, *, failed: bool = False) -> Permit:
        """Wait for a permit. If the exchange is gone, wait only until the next probe fails.

        Args:
            max_wait_s: Longest wait, at most an hour.
            failed: Whether the caller's own last request failed. If the exchange is gone, it then does not wait at all.

        Raises:
            PermitRefused: No permit is available within `max_wait_s`; the budget is unchanged.
            IdentityStopped: The key was refused too often; the budget is unchanged.
            SourceUnavailable: The exchange is gone.
            StoreUnavailable: Redis is unreachable.
        """
        began = trio.current_time()
        permit = await self.converse(self.steps.wait(max_wait_s, failed=failed))
        if self._is_measured:
            PERMIT_SECONDS.observe(trio.current_time() - began)
        return permit

    async def count_use(self) -> None:
        """Add a request to the account, if the bucket has one.

        Raises:
            StoreError: Redis did not carry out the command.
        """
        if self._count is not None:
            await self._count()

    async def give_back(self, permit: Permit) -> None:
        """Report that a permit was not used. If it was for a probe, another caller may probe now.

        Takes at most a second, also in a cancelled scope, and never raises an error. If it fails, a probe expires by
        itself.
        """
        await self.converse(self.steps.give_back(permit))

    async def forgive(self) -> None:
        """End the stop of an identity, after the operator repaired its key.

        Raises:
            StoreUnavailable: Redis is unreachable.
        """
        await self._ask("forgive", *self._limits)

    async def statistics(self) -> BucketStatistics:
        """Read the state of the bucket and its breaker.

        Raises:
            StoreUnavailable: Redis is unreachable.
        """
        reply = await self._ask("read")
        budget = self.budget
        seen, until, granted, share, slowed_by, *rest = reply or (0, 0, 0, WHOLE_PPM, 0, *astuple(Breaker()))
        breaker, tats = Breaker(*rest[:_BREAKER_FIELDS]), rest[_BREAKER_FIELDS:]
        wait_us = max(0, until - seen)
        available = budget.burst if tats else 0
        waiting = 0
        for number, (tat, limit) in enumerate(zip(tats, budget.limits, strict=False)):
            interval_us = limit.interval_us if number else stretched_us(limit.interval_us, share)
            ahead_us = max(tat, seen) - limit.tolerance_us - seen
            wait_us = max(wait_us, ahead_us)
            available = min(available, max(0, -ahead_us // interval_us + 1))
            # A pause, or the first slot after it, is not a reservation.
            queued_us = ahead_us - max(interval_us, until - seen)
            waiting = max(waiting, ceil_div(queued_us, interval_us))
        return BucketStatistics(
            rate_per_s=budget.rate_per_s,
            share=share / WHOLE_PPM,
            slowed_by=slowed_by if share < WHOLE_PPM else 0,
            burst=budget.burst,
            available=0 if wait_us else available,
            waiting=waiting,
            wait_ms=ceil_div(wait_us, 1000),
            paused_ms=ceil_div(max(0, until - seen), 1000),
            granted=granted,
            voided=self._voided,
            breaker=breaker,
            stopped_ms=ceil_div(max(0, breaker.stopped - seen), 1_000),
        )

    def _note_lost(self, why: str) -> None:
        if why == "void":
            self._voided += 1
        if self._is_measured:
            PERMITS_LOST.add(1, why)

    async def converse(self, steps: Steps[_T]) -> _T:
        """Carry out the steps of a conversation with the bucket, and return its result."""
        return await drive(steps, self._do)

    async def _do(self, step: Step) -> Any:
        match step:
            case Ask(arguments, last_s):
                with trio.CancelScope(shield=last_s is not None), trio.fail_after(last_s or math.inf):
                    return await self._run(keys=self._keys, args=arguments)
            case Pause(seconds):
                return await trio.sleep(seconds)
            case Now():
                return trio.current_time()
            case _:
                raise TypeError(f"{step} is not a step of waiting for a permit")

    async def _ask(self, *arguments: int | str) -> Any:
        return await self._run(keys=self._keys, args=arguments)


def _ask(*arguments: int | str, last_s: float | None = None) -> Steps[list[int]]:
    reply: list[int] = yield Ask(arguments, last_s)
    return reply

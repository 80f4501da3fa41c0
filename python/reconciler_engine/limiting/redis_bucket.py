"""The token bucket that all workers of all nodes share: token_bucket.lua, and the waiting for a slot."""

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
    return "".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("origin", "breaker", "token_bucket"))


class RunScript(Protocol):
    """Run the bucket's script once in Redis; an unreachable Redis raises."""

    async def __call__(self, *, keys: Sequence[str], args: Sequence[int | str]) -> Any:
        """Run it with the bucket's and the breaker's key and return its reply."""


@dataclass(frozen=True, slots=True)
class BucketStatistics:
    """A glance at the budget and the breaker.

    Attributes:
        rate_per_s: Permits a second in the long run, as configured.
        share: Part of that rate that is given now: below 1 after the exchange refused for rate.
        slowed_by: HTTP status of the last such refusal; 0 where there was none.
        burst: Permits of a full bucket.
        available: Permits that could go out at this moment.
        waiting: Reservations whose slot lies ahead, of all workers; cancelled and void ones count until their slot.
        wait_ms: Wait of a new reservation.
        paused_ms: Rest of a pause the exchange asked for.
        granted: Permits granted since the bucket was made.
        voided: Reservations of this process that came too late, were pushed back or lost; each was made again.
        breaker: State after the last answers; `is_alone`: one request at a time finds out whether it is over.
        stopped_ms: How long nothing is asked under this identity, whose key was refused; 0 where it goes on.
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
        """How the breaker stands: `closed`, `probing`, `gone` or `stopped`."""
        if self.stopped_ms:
            return "stopped"
        if self.breaker.is_gone:
            return "gone"
        return "probing" if self.breaker.is_alone else "closed"


class TokenBucket:
    """A share in one budget, behind one breaker; any number of tasks may wait, and are served in the order they asked.

    A waiter takes its slot at once, sleeps until it comes, and asks again before it goes: so a pause the exchange asked
    for, a lost Redis and a stalled process void the promise. A cancelled waiter wastes its slot and nothing else.
    Without Redis nothing is granted: its error travels on.

    `budget` is what it allows; `is_for_key` says that permits are for signed requests: the breaker is a key's.

    A caller whose permit is over 250 ms old when it sends (`Permit.is_valid`) must give it back and get
    another one first.
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
        """Make a share in the bucket `key`, behind the breaker of a key's identity; by default the bucket's own.

        `count` keeps the account of requests. A bucket whose permits only pace, and send nothing, is not measured.
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
        """Wait for a permit; an exchange that is gone is waited for until it fails somebody once more.

        `failed` says that it just failed the caller, who then waits no longer for one that is gone.

        Raises:
            PermitRefused: None can be had within `max_wait_s` (at most an hour); the budget stays as it was.
            IdentityStopped: The key was refused too often; the budget stays as it was.
            SourceUnavailable: The exchange is gone, and was not back at the last try.
            StoreUnavailable: Redis is away.
        """
        began = trio.current_time()
        permit = await self.converse(self.steps.wait(max_wait_s, failed=failed))
        if self._is_measured:
            PERMIT_SECONDS.observe(trio.current_time() - began)
        return permit

    async def count_use(self) -> None:
        """Count a request in the account, where there is one.

        Raises:
            StoreError: Redis did not do it.
        """
        if self._count is not None:
            await self._count()

    async def give_back(self, permit: Permit) -> None:
        """Say that nothing came of a permit; should it have been to find out alone, somebody else may.

        In a second at most, without an error, and for a cancelled caller as well: where that is not enough, a probe
        runs out by itself.
        """
        await self.converse(self.steps.give_back(permit))

    async def forgive(self) -> None:
        """Ask again under an identity that was stopped: somebody says that its key was put in order.

        Raises:
            StoreUnavailable: Redis is away.
        """
        await self._ask("forgive", *self._limits)

    async def statistics(self) -> BucketStatistics:
        """Read how the bucket stands.

        Raises:
            StoreUnavailable: Redis is away.
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
            # The first slot after a pause is taken by nobody until somebody takes it.
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
        """Have a conversation with the bucket, made of `steps`."""
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

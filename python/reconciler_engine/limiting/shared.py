"""The token bucket that all workers of all nodes share: token_bucket.lua, and the waiting for a slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, Protocol

import trio

from reconciler_engine.errors import PermitRefused
from reconciler_engine.limiting.token_bucket import LONGEST_WAIT_US, Budget
from reconciler_engine.observe.metrics import PERMIT_SECONDS, PERMITS_LOST

DEFAULT_MAX_WAIT_S: Final = 30.0

_TAKEN: Final = 1
_EARLY: Final = 2


def script_text() -> str:
    """Return the Lua source of the bucket, for whoever runs scripts."""
    return files("reconciler_engine.limiting").joinpath("token_bucket.lua").read_text("utf-8")


class RunScript(Protocol):
    """Run the bucket's script once in Redis; an unreachable Redis raises."""

    async def __call__(self, *, keys: Sequence[str], args: Sequence[int | str]) -> Any:
        """Run it with one key and return its reply."""


@dataclass(frozen=True, slots=True)
class Permit:
    """One request may go out now. `expires` (trio's clock, s) is the last moment for it: later it is void."""

    expires: float

    def is_valid(self) -> bool:
        """Whether it may still be used."""
        return trio.current_time() <= self.expires


@dataclass(frozen=True, slots=True)
class BucketStatistics:
    """A glance at the budget.

    Attributes:
        rate_per_s: Permits a second in the long run.
        burst: Permits of a full bucket.
        available: Permits that could go out at this moment.
        waiting: Reservations whose slot lies ahead, of all workers; cancelled and void ones count until their slot.
        wait_ms: What a new reservation would wait.
        paused_ms: What is left of a pause the exchange asked for.
        granted: Permits granted since the bucket was made.
        voided: Reservations of this process that came too late, were pushed back or lost; each was made again.
    """

    rate_per_s: float
    burst: int
    available: int
    waiting: int
    wait_ms: int
    paused_ms: int
    granted: int
    voided: int


class TokenBucket:
    """A share in one budget; any number of tasks may wait on it, and are served in the order they asked.

    A waiter takes its slot at once, sleeps until it comes, and asks again before it goes: so a pause the exchange asked
    for, a lost Redis and a stalled process void what was promised. A cancelled waiter wastes its slot and nothing else.
    Without Redis nothing is granted: its error travels on.

    Whoever sends a request for which it got a permit over 250 ms ago (`Permit.is_valid`) must get another one first.
    """

    def __init__(self, run: RunScript, key: str, budget: Budget) -> None:
        self._run = run
        self._key = key
        self._budget = budget
        self._paces = [number for pace in budget.paces for number in (pace.interval_us, pace.tolerance_us)]
        self._voided = 0

    @property
    def budget(self) -> Budget:
        """What the bucket allows."""
        return self._budget

    async def wait_permit(self, max_wait_s: float = DEFAULT_MAX_WAIT_S) -> Permit:
        """Wait for a permit.

        Raises:
            PermitRefused: None can be had within `max_wait_s` (at most an hour); the budget stays as it was.
            StoreUnavailable: Redis is away.
        """
        began = trio.current_time()
        deadline = began + min(max_wait_s, LONGEST_WAIT_US / 1_000_000)
        while True:
            permit = await self._reserve(deadline)
            if permit is not None and permit.is_valid():
                PERMIT_SECONDS.observe(trio.current_time() - began)
                return permit
            self._voided += 1
            PERMITS_LOST.add(1, "void")
            if trio.current_time() >= deadline:
                raise PermitRefused(0)

    async def push_back(self, pause_ms: int) -> None:
        """Let nobody have a permit for `pause_ms` (at most an hour), then go on from an empty bucket.

        A pause that lasts longer already stays as it is. Reservations that fall into the pause are void.

        Raises:
            StoreUnavailable: Redis is away.
        """
        pause_us = min(max(0, pause_ms) * 1000, LONGEST_WAIT_US)
        await self._run(keys=[self._key], args=["push", pause_us, *self._paces])

    async def statistics(self) -> BucketStatistics:
        """Read how the bucket stands.

        Raises:
            StoreUnavailable: Redis is away.
        """
        reply = await self._run(keys=[self._key], args=["read"])
        budget = self._budget
        seen, until, granted, *tats = reply or (0, 0, 0)
        wait_us = max(0, until - seen)
        available = budget.burst if tats else 0
        waiting = 0
        for tat, pace in zip(tats, budget.paces, strict=False):
            ahead_us = max(tat, seen) - pace.tolerance_us - seen
            wait_us = max(wait_us, ahead_us)
            available = min(available, max(0, -ahead_us // pace.interval_us + 1))
            # The first slot after a pause is taken by nobody until somebody takes it.
            queued_us = ahead_us - max(pace.interval_us, until - seen)
            waiting = max(waiting, -(-queued_us // pace.interval_us))
        return BucketStatistics(
            rate_per_s=budget.rate_per_s,
            burst=budget.burst,
            available=0 if wait_us else available,
            waiting=waiting,
            wait_ms=-(-wait_us // 1000),
            paused_ms=-(-max(0, until - seen) // 1000),
            granted=granted,
            voided=self._voided,
        )

    async def _reserve(self, deadline: float) -> Permit | None:
        """Take a slot and wait for it; None if it turned void."""
        asked = trio.current_time()
        max_wait_us = max(0, int((deadline - asked) * 1_000_000))
        taken, wait_us, *slot_born = await self._run(keys=[self._key], args=["reserve", max_wait_us, *self._paces])
        if taken != _TAKEN:
            PERMITS_LOST.add(1, "refused")
            raise PermitRefused(-(-wait_us // 1000))
        late_us = 0
        lateness_us = self._budget.lateness_us
        while wait_us:
            await trio.sleep(wait_us / 1_000_000)
            asked = trio.current_time()
            verdict, *rest = await self._run(keys=[self._key], args=["confirm", *slot_born, lateness_us])
            if verdict == _TAKEN:
                late_us, wait_us = rest[0], 0
            elif verdict == _EARLY:
                wait_us = rest[0]
            else:
                return None
        # From before the question: the time its answer took counts as lateness.
        return Permit(asked + (lateness_us - late_us) / 1_000_000)

"""The leases that this engine holds: at most one a job, refreshed until it is released or another engine takes it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio

from reconciler_engine.errors import StoreError
from reconciler_engine.store.leases import JobLeases, Lease

_RELEASE_S = 2.0
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class HeldLease:
    """A held lease; `scope` encloses the work under it and is cancelled once another engine has taken the lease."""

    lease: Lease
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class HeldLeases:
    """Holds leases for the length of blocks; `keep` must run beside them."""

    def __init__(self, leases: JobLeases, jobs: Sequence[str], *, refresh_s: float) -> None:
        """Make a keeper of the leases of `jobs`, which refreshes each lease every `refresh_s`."""
        self._leases = leases
        self._jobs = jobs
        self._refresh_s = refresh_s
        self._held: dict[str, HeldLease] = {}
        self._taking: set[str] = set()

    def of(self, job: str) -> HeldLease:
        """Return the held lease of a job."""
        return self._held[job]

    @asynccontextmanager
    async def hold(self, job: str, tick: str | None) -> AsyncIterator[HeldLease | None]:
        """Hold a job's lease for the length of a block; yield None if the lease is taken.

        `tick` names a tick of the schedule that only one engine may run; None for a run outside the schedule.

        Raises:
            StoreError: Redis did not answer.
        """
        held = await self._take(job, tick)
        try:
            yield held
        finally:
            if held is not None:
                await _give_back(job, partial(self._leases.release, self._held.pop(job).lease))

    async def take_again(self, job: str) -> HeldLease | None:
        """Take a lease again inside the block that holds it; return None if another engine has it now.

        Raises:
            StoreError: Redis did not answer.
        """
        with trio.CancelScope(shield=True):
            lease = await self._leases.take(job, None)
        if lease is not None:
            self._held[job] = HeldLease(lease)
        return None if lease is None else self._held[job]

    async def keep(self) -> None:
        """Refresh the leases until cancelled; then release those of every job."""
        try:
            while True:
                await trio.sleep(self._refresh_s)
                for held in tuple(self._held.values()):
                    await self._refresh(held)
        finally:
            # Redis may have granted a lease to a call that we no longer waited for.
            for job in self._jobs:
                await _give_back(job, partial(self._leases.leave, job))

    async def _take(self, job: str, tick: str | None) -> HeldLease | None:
        if job in self._held or job in self._taking:
            return None
        self._taking.add(job)
        try:
            # Shielded: after a cancelled call it would be unknown whether the lease is ours. The client bounds it.
            with trio.CancelScope(shield=True):
                lease = await self._leases.take(job, tick)
        finally:
            self._taking.discard(job)
        if lease is None:
            return None
        held = self._held[job] = HeldLease(lease)
        return held

    async def _refresh(self, held: HeldLease) -> None:
        try:
            if not await self._leases.refresh(held.lease):
                held.scope.cancel()
        except StoreError as error:
            # A new holder is noticed once Redis is back; until then this engine cannot write anyway.
            _logger.info("lease not refreshed", extra={"job": held.lease.job, "error": str(error)})


async def _give_back(job: str, release: Callable[[], Awaitable[None]]) -> None:
    with trio.move_on_after(_RELEASE_S, shield=True):
        try:
            await release()
        except StoreError as error:
            _logger.info("lease not released", extra={"job": job, "error": str(error)})

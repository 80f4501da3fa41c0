"""The leases that this engine holds: at most one a job, refreshed until it is given back or somebody else has it."""

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
    """A lease of ours; `scope` is around all that runs under it, cancelled where somebody else has it now."""

    lease: Lease
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class HeldLeases:
    """Holds leases for the length of blocks; `keep` must run beside them."""

    def __init__(self, leases: JobLeases, jobs: Sequence[str], *, refresh_s: float) -> None:
        """Make a keeper of these jobs' leases, which refreshes each every `refresh_s`."""
        self._leases = leases
        self._jobs = jobs
        self._refresh_s = refresh_s
        self._held: dict[str, HeldLease] = {}
        self._taking: set[str] = set()

    def of(self, job: str) -> HeldLease:
        """Return the lease of a job that is held."""
        return self._held[job]

    @asynccontextmanager
    async def hold(self, job: str, tick: str | None) -> AsyncIterator[HeldLease | None]:
        """Hold a job's lease for the length of a block; give None where that cannot be.

        `tick` names an occasion to run the job that must be run once among all nodes.

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
        """Take a lease anew inside the block that holds it; give None where somebody else has it now.

        Raises:
            StoreError: Redis did not answer.
        """
        with trio.CancelScope(shield=True):
            lease = await self._leases.take(job, None)
        if lease is not None:
            self._held[job] = HeldLease(lease)
        return None if lease is None else self._held[job]

    async def keep(self) -> None:
        """Refresh the leases until cancelled; then give back those of every job."""
        try:
            while True:
                await trio.sleep(self._refresh_s)
                for held in tuple(self._held.values()):
                    await self._refresh(held)
        finally:
            # Taken by a command that arrived after we gave it up.
            for job in self._jobs:
                await _give_back(job, partial(self._leases.leave, job))

    async def _take(self, job: str, tick: str | None) -> HeldLease | None:
        if job in self._held or job in self._taking:
            return None
        self._taking.add(job)
        try:
            # Not to be cancelled in the middle: whether it is ours would be unknown. Bounded by the client.
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
            # Another holder since then is found out when Redis is back; until then nothing can be written.
            _logger.info("lease not refreshed", extra={"job": held.lease.job, "error": str(error)})


async def _give_back(job: str, release: Callable[[], Awaitable[None]]) -> None:
    with trio.move_on_after(_RELEASE_S, shield=True):
        try:
            await release()
        except StoreError as error:
            _logger.info("lease not released", extra={"job": job, "error": str(error)})

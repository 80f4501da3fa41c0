"""Leases: each names the process that runs a job now, and the epoch of its turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

LEASE_MS = 10_000
"""Life of a lease that is not refreshed; its owner is dead or cut off."""

_TICK_LIFE_MS = 600_000
"""Largest difference of two nodes' clocks at which each tick is still run once."""

_LEASE = Script.load("reconciler_engine.store", "lua/lease.lua")


@dataclass(frozen=True, slots=True)
class Lease:
    """A job's lease that was taken.

    Attributes:
        job: The job.
        epoch: Number of this lease: greater than every earlier one, even if Redis was emptied in between. Work
            under it (`TaskQueue.under`) is refused once somebody else has taken the lease.
        open_run: Id of a run that the previous holder left unfinished, for this one to finish; empty if there is none.
    """

    job: str
    epoch: int
    open_run: str = ""


class JobLeases:
    """The leases of one scope's jobs, as one owner sees them."""

    def __init__(self, client: TrioRedis, scope: Scope, owner: str, *, life_ms: int = LEASE_MS) -> None:
        """Make an owner of leases; `owner` is unique among all of them, over every process and node."""
        self._client = client
        self._scope = scope
        self._owner = owner
        self._life_ms = life_ms

    async def take(self, job: str, tick: str | None = None) -> Lease | None:
        """Take a job's lease if nobody else has it; return None otherwise.

        A lease that Redis says is ours is taken again with a new epoch: during an outage Redis may have stored a take
        whose reply was lost, or missed a release. Callers must not take a lease that they hold.

        Args:
            job: The job's name.
            tick: Name of the tick, which only one of all nodes runs; remembered for ten minutes.
        """
        keys = [*self._keys(job), *(() if tick is None else (self._scope.key(f"tick:{job}:{tick}"),))]
        found = await _LEASE.run(self._client, keys=keys, args=["take", self._owner, self._life_ms, _TICK_LIFE_MS])
        with understanding("a lease"):
            return Lease(job, whole(found[0], 1), text(found[1])) if found else None

    async def refresh(self, lease: Lease) -> bool:
        """Extend a lease; return False if it is no longer ours.

        An expired lease is ours again unless another owner took it.
        """
        keys = self._keys(lease.job)
        return bool(
            await _LEASE.run(self._client, keys=keys, args=["refresh", self._owner, self._life_ms, lease.epoch])
        )

    async def release(self, lease: Lease) -> None:
        """Give a lease back; no effect if it is no longer ours."""
        await _LEASE.run(self._client, keys=self._keys(lease.job), args=["release", self._owner, lease.epoch])

    async def leave(self, job: str) -> None:
        """Give back every lease of the job that Redis holds for this owner; call when no more will be taken."""
        await _LEASE.run(self._client, keys=self._keys(job), args=["release", self._owner])

    async def is_held(self, job: str) -> bool:
        """Return whether anybody holds the job's lease."""
        return bool(await self._client.execute_command("EXISTS", self._keys(job)[0]))

    async def free(self, jobs: Sequence[str], is_gone: Callable[[str], bool]) -> None:
        """Free the leases of these jobs, whose holders are known to be dead; their unfinished runs stay recorded."""
        for job in jobs:
            keys = self._keys(job)
            holder = await self._client.execute_command("GET", keys[0])
            with understanding("the holder of a lease"):
                name = None if holder is None else text(holder)
            if name is not None and is_gone(name):
                await _LEASE.run(self._client, keys=keys, args=["release", holder])

    def _keys(self, job: str) -> list[str]:
        return [self._scope.key(f"lease:{job}"), self._scope.fence_key(job)]

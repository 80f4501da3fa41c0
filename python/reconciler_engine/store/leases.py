"""Leases: which process of which node runs a job now, and under which epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Script
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

LEASE_MS = 10_000
"""A lease that nobody refreshed for so long is free: its owner is dead or cut off."""

_TICK_LIFE_MS = 600_000
"""How far apart the clocks of two nodes may be for a slot to be run by one of them alone."""

_LEASE = Script.load("reconciler_engine.store", "lua/lease.lua")


@dataclass(frozen=True, slots=True)
class Lease:
    """A job's lease that was taken.

    Attributes:
        job: The job.
        epoch: Names this taking: greater than that of every earlier one, even if Redis was emptied in between. Work
            under it (`TaskQueue.under`) is refused once somebody else has taken the lease.
        open_run: Id of the run that the holder before left open, for this one to see to its end; empty where none is.
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

        One of our own is taken anew, with another epoch: where Redis was away, it may have heard of a taking that we
        did not, or not of a release. Callers must not take a lease that they hold.

        Args:
            job: The job's name.
            tick: Names an occasion to run it that must be run once among all nodes; remembered for ten minutes.
        """
        keys = [*self._keys(job), *(() if tick is None else (self._scope.key(f"tick:{job}:{tick}"),))]
        found = await _LEASE.run(self._client, keys=keys, args=["take", self._owner, self._life_ms, _TICK_LIFE_MS])
        with understanding("a lease"):
            return Lease(job, whole(found[0], 1), text(found[1])) if found else None

    async def refresh(self, lease: Lease) -> bool:
        """Prolong a lease; return False where it is ours no more.

        One that ran out is ours again as long as nobody else took it.
        """
        keys = self._keys(lease.job)
        return bool(
            await _LEASE.run(self._client, keys=keys, args=["refresh", self._owner, self._life_ms, lease.epoch])
        )

    async def release(self, lease: Lease) -> None:
        """Give a lease back; harmless where it is ours no more."""
        await _LEASE.run(self._client, keys=self._keys(lease.job), args=["release", self._owner, lease.epoch])

    async def leave(self, job: str) -> None:
        """Give back any lease of the job that is ours, known or not, before taking no more."""
        await _LEASE.run(self._client, keys=self._keys(job), args=["release", self._owner])

    async def is_held(self, job: str) -> bool:
        """Return whether anybody holds the job's lease."""
        return bool(await self._client.execute_command("EXISTS", self._keys(job)[0]))

    async def free(self, jobs: Sequence[str], is_gone: Callable[[str], bool]) -> None:
        """Free the leases of these jobs whose holders are known to be dead; the runs left open stay to be seen to."""
        for job in jobs:
            keys = self._keys(job)
            holder = await self._client.execute_command("GET", keys[0])
            with understanding("the holder of a lease"):
                name = None if holder is None else text(holder)
            if name is not None and is_gone(name):
                await _LEASE.run(self._client, keys=keys, args=["release", holder])

    def _keys(self, job: str) -> list[str]:
        return [self._scope.key(f"lease:{job}"), self._scope.fence_key(job)]

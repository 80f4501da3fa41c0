"""Leases: which process of which node runs a job now."""

from __future__ import annotations

from reconciler_engine.store.scope import Scope
from reconciler_engine.store.scripts import Script
from reconciler_engine.store.transport import TrioRedis

LEASE_MS = 10_000
"""A lease that nobody refreshed for so long is free: its owner is dead or cut off."""

_TICK_LIFE_MS = 600_000
"""How far apart the clocks of two nodes may be for a slot to be run by one of them alone."""

_LEASE = Script.load("reconciler_engine.store", "lua/lease.lua")


class JobLeases:
    """The leases of one scope's jobs, as one owner sees them.

    Losing a lease does no harm: merges are idempotent, and two passes at once only ask for some pages twice.
    """

    def __init__(self, client: TrioRedis, scope: Scope, owner: str) -> None:
        """Make an owner of leases; `owner` is unique among all of them, over every process and node."""
        self._client = client
        self._scope = scope
        self._owner = owner

    async def take(self, job: str, tick: str | None = None) -> bool:
        """Take a job's lease if it is free; return whether it was.

        Args:
            job: The job's name.
            tick: Names an occasion to run it that must be run once among all nodes; remembered for ten minutes.
        """
        keys = [self._key(job), *(() if tick is None else (self._scope.key(f"tick:{job}:{tick}"),))]
        return bool(await _LEASE.run(self._client, keys=keys, args=["take", self._owner, LEASE_MS, _TICK_LIFE_MS]))

    async def refresh(self, job: str) -> bool:
        """Prolong our lease; return False where it is ours no more."""
        return bool(await _LEASE.run(self._client, keys=[self._key(job)], args=["refresh", self._owner, LEASE_MS]))

    async def release(self, job: str) -> None:
        """Give our lease back; harmless where it is ours no more."""
        await _LEASE.run(self._client, keys=[self._key(job)], args=["release", self._owner])

    async def is_held(self, job: str) -> bool:
        """Return whether anybody holds the job's lease."""
        return bool(await self._client.execute_command("EXISTS", self._key(job)))

    async def clear(self, jobs: list[str]) -> None:
        """Drop the leases of these jobs, whoever holds them; for who knows that their holders are dead."""
        await self._client.execute_command("DEL", *map(self._key, jobs))

    def _key(self, job: str) -> str:
        return self._scope.key(f"lease:{job}")

"""Turns: periodic work that is done by one process among all nodes."""

from __future__ import annotations

from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope


class Turn:
    """Right of one process at a time to do one kind of work. Another can take it once it has expired or was ended."""

    def __init__(self, client: TrioRedis, scope: Scope, work: str) -> None:
        self._client = client
        self._key = scope.key(f"{work}:turn")

    async def take(self, life_s: int) -> bool:
        """Take the turn for `life_s` unless it is taken; return whether this call took it.

        Raises:
            StoreError: Redis did not answer.
        """
        return bool(await self._client.execute_command("SET", self._key, "1", "NX", "EX", life_s))

    async def end(self) -> None:
        """End the turn, so that any process can take it at once.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._client.execute_command("DEL", self._key)

    async def extend(self, life_s: int) -> None:
        """Keep the turn taken for another `life_s`: the work continues, or is done and not due again before.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._client.execute_command("SET", self._key, "1", "EX", life_s)

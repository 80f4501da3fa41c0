"""Turns: work that one process of all nodes does now and then."""

from __future__ import annotations

from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope


class Turn:
    """One kind of work that is done by one process at a time, and not again before its turn ends by itself."""

    def __init__(self, client: TrioRedis, scope: Scope, work: str) -> None:
        self._client = client
        self._key = scope.key(f"{work}:turn")

    async def take(self, life_s: int) -> bool:
        """Take the turn for `life_s` unless somebody has it; return whether it was taken.

        Raises:
            StoreError: Redis did not answer.
        """
        return bool(await self._client.execute_command("SET", self._key, "1", "NX", "EX", life_s))

    async def end(self) -> None:
        """Let others take the turn at once.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._client.execute_command("DEL", self._key)

    async def extend(self, life_s: int) -> None:
        """Let nobody take the turn for `life_s` from now on: the work goes on, or is done.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._client.execute_command("SET", self._key, "1", "EX", life_s)

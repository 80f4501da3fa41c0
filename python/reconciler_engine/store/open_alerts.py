"""Open alerts in Redis, shared by all nodes and kept over restarts, so that each beginning and end is reported once."""

from __future__ import annotations

from typing import Final

from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.scope import MOST_SERIES
from reconciler_engine.store.scoped import Scoped

_LIFE_MS: Final = 30 * 86_400_000
_NAME_BYTES = 500


class OpenAlerts(Scoped):
    """The open alerts of one scope: a hash with one field per alert."""

    _name = "alerts"

    async def read(self) -> dict[str, int]:
        """Return when each open alert began (ms UTC), by its name.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        (count,) = all_served(await self._client.pipe([("HLEN", self._key)]))
        with understanding("the open alerts"):
            if whole(count) > MOST_SERIES:
                # Another program filled the hash.
                await self._client.execute_command("DEL", self._key)
                return {}
            found = await self._client.execute_command("HGETALL", self._key)
            return {text(name): whole(since) for name, since in found.items() if len(name) <= _NAME_BYTES}

    async def begin(self, names: dict[str, int]) -> list[str]:
        """Store when alerts began (ms UTC); return the names of the alerts that were not open before.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        commands = [("HSETNX", self._key, name, since) for name, since in names.items()]
        *added, _ = all_served(await self._client.pipe([*commands, ("PEXPIRE", self._key, _LIFE_MS)]))
        return [name for name, was_new in zip(names, added, strict=True) if was_new == 1]

    async def end(self, names: list[str]) -> list[str]:
        """Remove alerts; return the names of the alerts that were open until now.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        removed = all_served(await self._client.pipe([("HDEL", self._key, name) for name in names]))
        return [name for name, was_there in zip(names, removed, strict=True) if was_there == 1]

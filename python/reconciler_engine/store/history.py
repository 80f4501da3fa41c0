"""Which history of writes the server of a scope's own keys goes on with: another one after a failover."""

from __future__ import annotations

from typing import Final

from reconciler_engine.store.client.reply_shapes import optional_bytes, understanding
from reconciler_engine.store.client.scripts import Client, Script
from reconciler_engine.store.scope import Scope

_HISTORY: Final = Script.load("reconciler_engine", "limiting/origin.lua", "store/lua/history.lua")


async def current_history(client: Client, scope: Scope) -> bytes | None:
    """Return its name; None where the user may not ask for it.

    Raises:
        StoreError: Redis did not answer.
    """
    reply = await _HISTORY.run(client, keys=[scope.key("history")])
    with understanding("the history of writes"):
        return optional_bytes(reply)

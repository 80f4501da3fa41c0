"""Progress in Redis: marks of work on a long range, kept beside the series' candles, and cursors of endless walks."""

from __future__ import annotations

from typing import Final

from reconciler_engine.market.series import Series
from reconciler_engine.store.client.reply_shapes import optional_bytes, understanding
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

MARK_LIFE_S: Final = 7 * 86_400
"""Life of a mark. A backfill continued later than this starts over: it rereads its range and requests missing slots."""

_INSTANT_DIGITS: Final = 15


class Marks:
    """Marks, texts that record the progress of one kind of work: one for each series and start of a range.

    A mark is kept for `MARK_LIFE_S` seconds.
    """

    def __init__(self, client: TrioRedis, scope: Scope, work: str = "backfill") -> None:
        self._client = client
        self._scope = scope
        self._work = work

    async def load(self, series: Series, start: int) -> bytes | None:
        """Return the mark of a range that begins at `start` (ms UTC), or None."""
        mark = await self._client.execute_command("GET", self._key(series, start))
        with understanding("a mark"):
            return optional_bytes(mark)

    async def save(self, series: Series, start: int, mark: str) -> None:
        """Set the mark of a range."""
        await self._client.execute_command("SET", self._key(series, start), mark, "EX", MARK_LIFE_S)

    async def clear(self, series: Series, start: int) -> None:
        """Delete the mark of a range."""
        await self._client.execute_command("DEL", self._key(series, start))

    def _key(self, series: Series, start: int) -> str:
        return self._scope.companion_key(series, f"{self._work}:{start}")


class Cursor:
    """Position of a walk over the series of a scope: a series' name and an instant (ms UTC) in that series."""

    def __init__(self, client: TrioRedis, scope: Scope, work: str) -> None:
        self._client = client
        self._key = scope.key(f"{work}:cursor")

    async def load(self) -> tuple[str, int] | None:
        """Return the position; None before the first `save`, or if the record is malformed.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        found = optional_bytes(await self._client.execute_command("GET", self._key)) or b""
        name, _, instant = found.decode("ascii", "replace").rpartition("|")
        return (name, int(instant)) if name and instant.isdecimal() and len(instant) <= _INSTANT_DIGITS else None

    async def save(self, name: str, instant: int) -> None:
        """Set the position.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._client.execute_command("SET", self._key, f"{name}|{instant}", "EX", MARK_LIFE_S)

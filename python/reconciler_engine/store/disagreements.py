"""Disagreements: bars that differ from the sum of their finer bars, kept until the exchange is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.reply_shapes import understanding, whole
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.scoped import Scoped

AGAIN_AFTER_MS: Final = 3_600_000
"""Time after which the exchange is asked again about a bar and its finer bars."""

_MOST = 1_000
_LIFE_MS: Final = 7 * 86_400_000


class Disagreement(NamedTuple):
    """A bar that differs from the sum of its finer bars; an answer from `due` (ms UTC) on counts as the second."""

    series: Series
    slot: int
    due: int


class Disagreements(Scoped):
    """Disagreements of one scope, at most a thousand; further bars are not asked about again."""

    _name = "disagreements"

    async def add(self, series: Series, slots: Sequence[int], now: int) -> None:
        """Keep bars for a second question, an hour after `now` (ms UTC).

        Raises:
            StoreError: Redis failed or refused the command.
        """
        free = _MOST - whole(await self._client.execute_command("HLEN", self._key))
        await self._write([Disagreement(series, slot, now + AGAIN_AFTER_MS) for slot in slots[: max(free, 0)]])

    async def put_off(self, one: Disagreement, until: int) -> None:
        """Set the instant from which a bar is asked about again (ms UTC).

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._write([one._replace(due=until)])

    async def due(self, now: int, limit: int) -> list[Disagreement]:
        """Return the bars to ask about at `now` (ms UTC), oldest first; entries that cannot be parsed are skipped.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        count = whole(await self._client.execute_command("HLEN", self._key))
        if count > 2 * _MOST:
            raise StoreError(f"{self._key} has {count} fields; allowed: at most {_MOST}")
        found = await self._client.execute_command("HGETALL", self._key) if count else {}
        with understanding("disagreements"):
            every = [one for name, due in found.items() if (one := _read(name, due)) is not None]
        return sorted((one for one in every if one.due <= now), key=lambda one: one.due)[:limit]

    async def drop(self, one: Disagreement) -> None:
        """Forget a bar.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._client.execute_command("HDEL", self._key, _name(one))

    async def _write(self, added: Sequence[Disagreement]) -> None:
        if added:
            flat = [text for one in added for text in (_name(one), one.due)]
            all_served(await self._client.pipe([("HSET", self._key, *flat), ("PEXPIRE", self._key, _LIFE_MS)]))


def _name(one: Disagreement) -> str:
    return f"{one.series}|{one.slot}"


def _read(name: Any, due: Any) -> Disagreement | None:
    series, _, slot = name.decode("utf-8", "replace").rpartition("|")
    try:
        one = Disagreement(Series.parse(series), whole(slot), whole(due))
    except ValueError:
        return None
    return one if one.slot % one.series.timeframe.step_ms == 0 else None

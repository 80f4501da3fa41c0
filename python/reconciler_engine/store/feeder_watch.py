"""The watch over the feeder: its newest candle of each series, told from those that the engine filled itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.observe.live_candles import Sighting
from reconciler_engine.steps import Command
from reconciler_engine.store.client.reply_shapes import MOST_MS, text, understanding, whole
from reconciler_engine.store.client.trio_redis import each_apart
from reconciler_engine.store.evidence_fields import RECENT, decode_fields
from reconciler_engine.store.scope import MOST_SERIES
from reconciler_engine.store.scoped import Scoped

KEPT_MS: Final = 7 * 86_400_000
"""Life of the sightings; all are dropped once none was renewed for this long."""

_COMMANDS = 500


class FeederWatch(Scoped):
    """The sightings of one scope: a hash in Redis, a field a series."""

    _name = "feeder"

    async def look(self, series: Sequence[Series], now: int) -> None:
        """Look at the newest member of each series at `now` (ms UTC), and note newer ones; one process looks at a time.

        A member is the feeder's if its bar has not closed, since the engine writes no such bar; or if it came since the
        last look and no answer of the exchange brought it. Of a series that is looked at first nothing older is known.

        Raises:
            StoreError: Redis did not answer.
        """
        before = await self.read()
        newest = await self._newest(series)
        changed = [one for one in newest if newest[one] != before.get(str(one), Sighting()).newest]
        filled = await self._filled({one: newest[one] for one in changed if str(one) in before})
        noted: list[str] = []
        for one in changed:
            at, last = newest[one], before.get(str(one))
            is_forming = at + one.timeframe.step_ms > now
            is_new = last is not None and one not in filled and at > (last.newest or 0)
            live, seen_at = (at, now) if is_forming or is_new else (last.live, last.seen_at) if last else (None, None)
            noted += (str(one), json.dumps([at, live, seen_at]))
        for start in range(0, len(noted), 2 * _COMMANDS):
            await self._client.execute_command("HSET", self._key, *noted[start : start + 2 * _COMMANDS])
        await self._client.execute_command("PEXPIRE", self._key, KEPT_MS)

    async def read(self) -> dict[str, Sighting]:
        """Return the sightings by series; fields that cannot be parsed are left out.

        Raises:
            StoreError: Redis did not answer, or the key is of another type.
        """
        if await self._client.execute_command("HLEN", self._key) > MOST_SERIES:
            raise StoreError(f"{self._key} has more than {MOST_SERIES} fields; allowed: a field a series")
        found = await self._client.execute_command("HGETALL", self._key)
        with understanding("the sightings of the feeder"):
            pairs = ((text(name), _sighting(body)) for name, body in found.items())
            return {name: one for name, one in pairs if one is not None}

    async def _newest(self, series: Sequence[Series]) -> dict[Series, int]:
        """Return the open time of the newest member of each series that has one."""
        newest = {}
        commands = [("ZRANGE", self._scope.candle_key(one), -1, -1, "WITHSCORES") for one in series]
        for one, reply in zip(series, await self._pipe(commands), strict=True):
            # A key of another type is told by passes.
            if isinstance(reply, list) and len(reply) == 2:  # noqa: PLR2004  a member and its score
                with understanding("a member's open time"):
                    score = float(reply[1])
                if 0 <= score <= MOST_MS:
                    newest[one] = int(score)
        return newest

    async def _filled(self, newest: Mapping[Series, int]) -> set[Series]:
        """Return the series whose newest member was brought by an answer of the exchange."""
        replies = await self._pipe([("HGET", self._scope.evidence_key(one), RECENT) for one in newest])
        return {
            one
            for (one, at), body in zip(newest.items(), replies, strict=True)
            if isinstance(body, bytes)
            and any(at in brought.slots for brought in decode_fields(one, {RECENT: body}).brought)
        }

    async def _pipe(self, commands: Sequence[Command]) -> list[Any]:
        replies: list[Any] = []
        for start in range(0, len(commands), _COMMANDS):
            part = commands[start : start + _COMMANDS]
            replies += await each_apart(self._client.pipe(part), len(part))
        return replies


def _sighting(body: Any) -> Sighting | None:
    try:
        newest, live, seen_at = (None if number is None else whole(number) for number in json.loads(body))
        return Sighting(newest, live, seen_at)
    except (ValueError, TypeError, RecursionError):
        return None

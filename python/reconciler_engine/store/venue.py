"""Facts about the exchange that all workers of a scope share in Redis: newest rows, references, withheld series."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import SAME_MOMENT_MS, Venue
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.reference import Reference
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.turns import Turn

REFERENCE_LIFE_MS = 3 * 3_600_000
"""Life of a reference after its last request, and of the record of the newest rows."""

WITHHELD_LIFE_MS = 600_000
"""Life of the record of withheld series after the last contradicted answer."""

_Instant = Annotated[int, Field(ge=0, le=2**53)]
_newest_of = TypeAdapter(tuple[_Instant, _Instant])
_reference_of = TypeAdapter(tuple[_Instant, _Instant, _Instant, bool, _Instant | None])


class VenueStore:
    """The shared facts of one scope. The caller closes the client."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._scope = scope
        self._newest_key = scope.key("newest_rows")
        self._withheld_key = scope.key("withheld")

    async def note_newest(self, timeframe: Timeframe, newest: int | None, at: int) -> Venue:
        """Note the open time of an answer's newest row; return the newest rows seen within five minutes of `at`.

        Args:
            timeframe: Timeframe of the answer.
            newest: Open time of the answer's newest row (ms UTC); None without rows.
            at: Instant of the request (ms UTC).

        Raises:
            StoreError: Redis failed or refused the command.
        """
        names = [one.value for one in Timeframe]
        values = await self._client.execute_command("HMGET", self._newest_key, *names)
        found = {name: seen for name, value in zip(names, values, strict=True) if (seen := _newest(value, at))}
        alike = max(newest or 0, found.get(timeframe.value, 0))
        if newest and newest == alike:
            body = _newest_of.dump_json((newest, at))
            noted = ("HSET", self._newest_key, timeframe.value, body)
            all_served(await self._client.pipe([noted, ("PEXPIRE", self._newest_key, REFERENCE_LIFE_MS)]))
        return Venue(newest=max([alike, *found.values()]) or None, newest_alike=alike or None)

    async def read_reference(self, series: Series, slots: Interval, *, is_newest: bool) -> Reference | None:
        """Return the stored reference for these slots of a product, or for its newest slots; None without one.

        Raises:
            StoreError: Redis did not answer.
        """
        body = await self._client.execute_command("GET", self._reference_key(series, slots, is_newest=is_newest))
        try:
            start, stop, at, is_whole, since = _reference_of.validate_json(body or b"")
            return Reference(Interval(start, stop), at, is_whole, since)
        except (ValidationError, ValueError):
            return None

    async def keep_reference(self, series: Series, reference: Reference, *, is_newest: bool) -> None:
        """Store a reference for all workers.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        slots = reference.slots
        body = _reference_of.dump_json(
            (slots.start, slots.stop, reference.at, reference.is_whole, reference.lacking_since)
        )
        key = self._reference_key(series, slots, is_newest=is_newest)
        await self._client.execute_command("SET", key, body, "PX", REFERENCE_LIFE_MS)

    def reference_turn(self, series: Series) -> Turn:
        """Return the turn to request a reference."""
        return Turn(self._client, self._scope, f"reference:{series}")

    async def is_withheld(self, series: Series, run: str) -> bool:
        """Return whether an answer in this run lacked candles that the series has.

        Raises:
            StoreError: Redis did not answer.
        """
        return bool(await self._client.execute_command("HGET", self._withheld_key, str(series)) == run.encode())

    async def note_withheld(self, series: Series, run: str) -> bool:
        """Note that an answer lacked candles of the series; return whether it is the product's first in this outage.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        commands = [
            ("HSETNX", self._withheld_key, f"product:{series.symbol}", run),
            ("HSET", self._withheld_key, str(series), run),
            ("PEXPIRE", self._withheld_key, WITHHELD_LIFE_MS),
        ]
        is_first, *_ = all_served(await self._client.pipe(commands))
        return bool(is_first)

    async def end_withheld(self) -> None:
        """Delete the record of withheld series: the exchange returns every candle that the cache has again.

        Raises:
            StoreError: Redis failed or refused the command.
        """
        await self._client.execute_command("DEL", self._withheld_key)

    def _reference_key(self, series: Series, slots: Interval, *, is_newest: bool) -> str:
        # Pages of older slots move between passes, so those that begin within one page's length share a reference.
        where = "newest" if is_newest else slots.start // (PAGE_SLOTS * series.timeframe.step_ms)
        return self._scope.key(f"reference:{series}:{where}")


def _newest(value: Any, at: int) -> int | None:
    """Return the open time in a stored newest row; None if it was not seen within five minutes of `at`."""
    try:
        newest, seen_at = _newest_of.validate_json(value or b"")
    except ValidationError:
        return None
    return newest if abs(at - seen_at) < SAME_MOMENT_MS else None

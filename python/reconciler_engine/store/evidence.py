"""The evidence ledger of each series: reads and changes of it. `candles` adds what answers prove."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.ledger import Knowledge, Ledger
from reconciler_engine.store.change_feed import ENTRIES_KEPT, LIFE_MS
from reconciler_engine.store.client.reply_shapes import optional_bytes, understanding, whole
from reconciler_engine.store.client.scripts import Client, Script, ScriptCall, run_batch
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.evidence_fields import ACCEPTED, bodies_of, day_of, decode_fields, fields_of, is_of_a_day
from reconciler_engine.store.findings import DAY_MS, days_of
from reconciler_engine.store.journal import Why
from reconciler_engine.store.merge_script import ChangeByHand, MergeOutcome, SeriesWrite
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.scoped import Scoped
from reconciler_engine.store.verified_fields import Verified, block_fields, decode_blocks, oldest_instants

CHANGES_LIMIT = 16
"""Tries of a merge while others write the same days; then the candles are written without their proofs."""

_READ = Script.load(
    "reconciler_engine", "store/lua/feed.lua", "limiting/origin.lua", "store/lua/doubt.lua", "store/lua/evidence.lua"
)
_NO_MEMBERS: Mapping[int, bytes] = MappingProxyType({})
_FIELDS_A_COMMAND = 64
_NOTHING_KNOWN = Knowledge()
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LedgerRead:
    """Findings on one series in an interval.

    Attributes:
        ledger: Findings there.
        error: Reason why the read failed, or None.
        known: All knowledge about the days that the interval touches.
        bodies: The same knowledge in the stored form, by field of the evidence hash.
    """

    ledger: Ledger
    error: StoreError | None = None
    known: Knowledge = _NOTHING_KNOWN
    bodies: Mapping[str, bytes] = field(default_factory=dict)


class EvidenceStore(Scoped):
    """Ledgers of one scope, each in a hash beside its series' candles."""

    async def read(self, wanted: Sequence[tuple[Series, Interval]]) -> list[LedgerRead]:
        """Return the findings on each series in its interval, in the order asked.

        Days that cannot be decoded are logged and count as unknown; the next proof overwrites them. Proofs from
        before a failover are marked to be checked again, since the failover may have lost their withdrawal.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        calls: list[ScriptCall] = []
        asked: list[tuple[int, list[str]]] = []
        for index, (series, interval) in enumerate(wanted):
            for names in _batches(interval):
                asked.append((index, names))
                keys = [self._scope.evidence_key(series), self._scope.feed_key(series)]
                calls.append(_READ.call(keys, [ENTRIES_KEPT, LIFE_MS, *names]))
        bodies: list[dict[str, bytes]] = [{} for _ in wanted]
        errors: dict[int, StoreError] = {}
        for (index, names), reply in zip(asked, await run_batch(self._client, calls), strict=True):
            if isinstance(reply, StoreError):
                errors[index] = reply
            else:
                with understanding("evidence"):
                    bodies[index].update(bodies_of(names, reply))
        knowns = [decode_fields(series, found) for (series, _), found in zip(wanted, bodies, strict=True)]
        return [
            LedgerRead(Ledger(knowns[index].ledger.within(interval)), errors.get(index), knowns[index], bodies[index])
            for index, (_, interval) in enumerate(wanted)
        ]

    async def verified(self, series: Series, slots: Interval) -> dict[int, Verified]:
        """Return the digests of verified members by open time (ms UTC), for at most a page of slots.

        Raises:
            StoreError: The key is not a hash.
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        return decode_blocks(await self._blocks(series, slots), series.timeframe.step_ms)

    async def oldest_verified(self, series: Series, slots: Interval) -> dict[int, int]:
        """Return the oldest verification (ms UTC) of each block of slots, by the number of the block.

        Raises:
            StoreError: The key is not a hash.
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        return oldest_instants(await self._blocks(series, slots))

    async def _blocks(self, series: Series, slots: Interval) -> dict[str, bytes]:
        names = block_fields(slots, series.timeframe.step_ms)
        reply = await self._client.execute_command("HMGET", self._scope.evidence_key(series), *names)
        with understanding("digests"):
            return bodies_of(names, reply)

    async def extent(self, series: Series) -> Interval | None:
        """Return the interval from the first to the last day with knowledge about a series; None if there is none.

        Raises:
            StoreError: The key is not a hash.
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        key = self._scope.evidence_key(series)
        names, body = all_served(await self._client.pipe([("HKEYS", key), ("HGET", key, ACCEPTED)]))
        with understanding("the days of evidence"):
            days = [day_of(name) for name in names if is_of_a_day(name)]
            accepted = decode_fields(series, {ACCEPTED: optional_bytes(body) or b""}).accepted
        days += [slot // DAY_MS for slot in accepted]
        return Interval(min(days) * DAY_MS, (max(days) + 1) * DAY_MS) if days else None

    async def change(
        self,
        series: Series,
        interval: Interval,
        retention: Retention,
        change: Callable[[Knowledge], Knowledge],
        *,
        unmoved: Mapping[int, bytes] = _NO_MEMBERS,
        why: Why | None = None,
        by: str = "",
    ) -> Knowledge | None:
        """Apply a pure change to the findings inside the days of an interval; return it, or None if they kept changing.

        Args:
            series: Series of the ledger.
            interval: Slots that may change, on the grid.
            retention: Bounds on the candles that the cache keeps.
            change: Returns the new findings; outside the interval they equal the old ones.
            unmoved: Members by open time that must be unchanged since they were read; otherwise nothing is changed.
            why: Reason of a change by an operator, which is journalled in the same step if it changes anything.
            by: Author of the change, for the journal.

        Raises:
            StoreError: The key is not a hash, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether it was changed is unknown.
        """
        step = series.timeframe.step_ms
        write = SeriesWrite(series, retention, unmoved=unmoved, by=by)

        def revise(write: SeriesWrite, known: Knowledge) -> SeriesWrite:
            now, noted = change(known), None
            if why is not None and now != known:
                before, after = (_summed(each, interval, step) for each in (known, now))
                noted = ChangeByHand(interval, before, after, why)
            return replace(write, known=now, by_hand=noted)

        written = await self._write(write, interval, revise)
        return None if written is None else written[0].known

    async def note_sums(
        self, series: Series, members: Mapping[int, bytes], retention: Retention, *, at: int, by: str
    ) -> tuple[int, ...]:
        """Note members as verified that follow from finer bars, and their slots as known to exist; return those noted.

        A member that changed since, or shares its slot, is not noted.

        Args:
            series: Series of the members.
            members: At most a page's, by open time.
            retention: Bounds on the candles that the cache keeps.
            at: Instant of the newest answer that they follow from (ms UTC).
            by: Author of the note: a run's id.

        Raises:
            StoreError: The key is not a hash, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether they were noted is unknown.
        """
        slots = Intervals.of_slots(sorted(members), series.timeframe.step_ms)
        write = SeriesWrite(series, retention, equal=members, asked_at=at, by=by)

        def revise(write: SeriesWrite, known: Knowledge) -> SeriesWrite:
            return replace(write, known=known._replace(exists=known.exists | slots))

        written = await self._write(write, slots.hull, revise)
        return () if written is None else written[1].verified

    async def tell(self, series: Series, told: ChangeByHand, retention: Retention, *, by: str) -> None:
        """Add an entry to a series' journal without a change of its evidence.

        Raises:
            StoreError: A key is of another type, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether it was journalled is unknown.
        """
        await SeriesWrite(series, retention, by_hand=told, by=by).run(self._client, self._scope)

    async def _write(
        self, write: SeriesWrite, interval: Interval, revise: Callable[[SeriesWrite, Knowledge], SeriesWrite]
    ) -> tuple[SeriesWrite, MergeOutcome] | None:
        """Write the result of a pure revision; None if the findings kept changing, or a member changed."""
        bodies = await self._read_fields(write.series, interval)
        for _ in range(CHANGES_LIMIT):
            revised = revise(replace(write, read=bodies), decode_fields(write.series, bodies))
            written = await revised.run(self._client, self._scope)
            if isinstance(written, MergeOutcome):
                return revised, written
            if written.moved:
                return None
            bodies.update(written.bodies)
        return None

    async def late(self, series: Series) -> int:
        """Return how many candles came after an answer without them, since the ledger began."""
        found = await self._client.execute_command("HGET", self._scope.evidence_key(series), "late")
        try:
            return whole(found or 0)
        except ValueError as error:
            _logger.info("late candles are not counted", extra={"series": str(series), "error": str(error)})
            return 0

    async def _read_fields(self, series: Series, interval: Interval) -> dict[str, bytes]:
        key = self._scope.evidence_key(series)
        bodies: dict[str, bytes] = {}
        for names in _batches(interval):
            reply = await self._client.execute_command("HMGET", key, *names)
            with understanding("evidence"):
                bodies.update(bodies_of(names, reply))
        return bodies


def _batches(interval: Interval) -> list[list[str]]:
    """Return the fields that hold all knowledge about an interval, in parts for one command each."""
    names = fields_of(days_of(interval))
    return [names[start : start + _FIELDS_A_COMMAND] for start in range(0, len(names), _FIELDS_A_COMMAND)]


def _summed(known: Knowledge, interval: Interval, step: int) -> str:
    """Encode the number of slots in each state, for the journal."""
    slots: Counter[str] = Counter()
    for start, stop, finding in known.ledger.within(interval):
        slots[finding.state.value] += (stop - start) // step
    accepted = sum(slot in interval for slot in known.accepted)
    if accepted:
        slots["accepted"] = accepted
    return json.dumps(slots)


_HISTORY: Final = Script.load("reconciler_engine", "limiting/origin.lua", "store/lua/history.lua")


async def current_history(client: Client, scope: Scope) -> bytes | None:
    """Return the id of the server's history; None if the Redis user may not read it.

    Raises:
        StoreError: Redis did not answer.
    """
    reply = await _HISTORY.run(client, keys=[scope.key("history")])
    with understanding("the history of writes"):
        return optional_bytes(reply)

"""The evidence ledger beside the candles: read with them, and written in one step with the merge that proved it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from reconciler_engine.errors import StoreError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import SLOTS_JUDGED
from reconciler_engine.planning.audit import Doubt
from reconciler_engine.planning.ledger import Ledger
from reconciler_engine.planning.proof import Answer, Verdict, judge
from reconciler_engine.planning.window import DEFAULT_GRACE_MS
from reconciler_engine.store.candles import (
    BEFORE_MERGE,
    MERGE_CANDLES,
    MERGE_TEXT,
    MergeOutcome,
    merge_arguments,
    merge_outcome,
)
from reconciler_engine.store.client.connection import Command
from reconciler_engine.store.client.scripts import Argument, Script
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.findings import DAY_MS, days_of, decode_day, encode_day, span_of
from reconciler_engine.store.journal import Why
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

LIFE_MS = 30 * DAY_MS
"""Evidence that nobody added to for so long is dropped, and its slots are asked for anew; where a series' candles are
kept for longer it lives as long as they do."""

DAYS_KEPT = 4_000
"""Days of one series: all that Coinbase has (since 2015). Past it the oldest are dropped."""

CHANGES_LIMIT = 16
"""Times a merge is tried while others write the same days; then the candles go in without what they prove."""

_DAYS_A_COMMAND = 32
_NOTHING_KNOWN = Ledger()
_logger = logging.getLogger(__name__)
_AFTER_MERGE = Script.load("reconciler_engine.store", "lua/evidence.lua").text
_EVIDENCE = Script(
    f"{BEFORE_MERGE}\nlocal function merge(KEYS, ARGV)\n{MERGE_TEXT}\nend\n{_AFTER_MERGE}", "evidence.lua"
)


@dataclass(frozen=True, slots=True)
class LedgerRead:
    """What is known of one series in an interval.

    Attributes:
        ledger: What is known there.
        error: Why nothing could be read, or None.
        whole: What is known in the days that the interval touches.
        bodies: The same as it was read, by day since the epoch.
    """

    ledger: Ledger
    error: StoreError | None = None
    whole: Ledger = _NOTHING_KNOWN
    bodies: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProvenMerge:
    """What a merge did, and what is known after it.

    Attributes:
        outcome: What became of the candles.
        verdict: What the answer proved; its ledger holds the days that the answer touches.
        doubted: Candles that differed from the exchange's: those that gave way and those that are suspect.
    """

    outcome: MergeOutcome
    verdict: Verdict
    doubted: int = 0


class EvidenceStore:
    """Ledgers of one scope, each in a hash beside its series' candles. The client is the caller's to close."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._scope = scope

    async def read(self, wanted: Sequence[tuple[Series, Interval]]) -> list[LedgerRead]:
        """Return what is known of each series in its interval, in the order asked.

        Days that cannot be understood count as unknown and are logged; they are written anew with the next proof.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        commands: list[Command] = []
        asked: list[tuple[int, range]] = []
        for index, (series, interval) in enumerate(wanted):
            days = days_of(interval)
            for start in range(0, len(days), _DAYS_A_COMMAND):
                part = days[start : start + _DAYS_A_COMMAND]
                asked.append((index, part))
                commands.append(("HMGET", self._scope.evidence_key(series), *part))
        bodies: list[dict[int, bytes]] = [{} for _ in wanted]
        errors: dict[int, StoreError] = {}
        for (index, days), reply in zip(asked, await self._client.pipe(commands), strict=True):
            if isinstance(reply, StoreError):
                errors[index] = reply
            else:
                bodies[index].update(_bodies(days, reply))
        wholes = [ledger_of(series, found) for (series, _), found in zip(wanted, bodies, strict=True)]
        return [
            LedgerRead(Ledger(wholes[index].within(interval)), errors.get(index), wholes[index], bodies[index])
            for index, (_, interval) in enumerate(wanted)
        ]

    async def reach(self, series: Series) -> Interval | None:
        """Return the days of a series of which anything is known, as one interval; None where nothing is.

        Raises:
            StoreError: The key is no hash.
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        names = await self._client.execute_command("HKEYS", self._scope.evidence_key(series))
        days = [int(name) for name in names if name.isdigit()]
        return Interval(min(days) * DAY_MS, (max(days) + 1) * DAY_MS) if days else None

    async def merge(
        self,
        series: Series,
        candles: Sequence[Candle],
        retention: Retention,
        answer: Answer,
        slots: Intervals,
        *,
        known: LedgerRead | None = None,
        doubts: Sequence[Doubt] = (),
        grace_ms: int = DEFAULT_GRACE_MS,
        announce: bool = True,
        by: str = "",
    ) -> ProvenMerge:
        """Insert candles as `CandleStore.merge` does, and note what their answer proved: both or neither.

        A slot that holds a candle by now is not judged: a candle wins over any answer. What others write meanwhile is
        judged again, up to `CHANGES_LIMIT` times; after that the candles go in alone and the slots stay as they were.

        Args:
            series: Whose candles they are.
            candles: Ascending by open time, one a slot, at most `MERGE_CANDLES`.
            retention: What the cache keeps.
            answer: Where they come from.
            slots: The slots without a candle when the exchange was asked; only those are judged.
            known: What was read of the days of `answer.asked` before, to spare another read; they are read without.
            doubts: Candles of the cache from which the answer's differ: they give way or, where they do not, become
                suspect. One that is not there any more as it was read, byte for byte and alone in its slot, is neither.
            grace_ms: How long after its close a bar may still be on its way.
            announce: Whether each inserted range is published on the series' repaired channel.
            by: Who merges, for the journal: a run's id, or a command.

        Raises:
            ValueError: There are more candles than one call of the script takes.
            StoreError: A key is of another type, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether the merge took effect is unknown.
        """
        if len(candles) + len(doubts) > MERGE_CANDLES:
            raise ValueError(f"{len(candles) + len(doubts)} candles in one answer; allowed: at most {MERGE_CANDLES}")
        step = series.timeframe.step_ms
        if known is None or not known.bodies.keys() >= set(days_of(answer.asked)):
            (known,) = await self.read([(series, answer.asked)])
            if known.error is not None:
                raise known.error
        ledger, bodies = known.whole, dict(known.bodies)
        for _ in range(CHANGES_LIMIT):
            offered, yielding, doubted = _settle(candles, doubts)
            verdict = judge(ledger, replace(answer, doubted=doubted), slots, step, grace_ms=grace_ms)
            merged = merge_arguments(
                self._scope, series, offered, retention, (), announce=announce, by=by, yielding=yielding
            )
            said, reply = await self._write(series, bodies, verdict, retention, merged, doubts=doubts)
            if said == b"done":
                SLOTS_JUDGED.add(verdict.absent.size(step), "absent")
                SLOTS_JUDGED.add(verdict.late, "late")
                SLOTS_JUDGED.add(len(doubts), "doubted")
                return ProvenMerge(merge_outcome(offered, reply), verdict, len(doubts))
            if said == b"changed":
                bodies.update(zip(_changes(bodies, verdict.ledger, step), (body or b"" for body in reply), strict=True))
                ledger = ledger_of(series, bodies)
                continue
            taken = {int(float(open_time)) for open_time in reply}
            if said == b"moved":
                doubts = [doubt for doubt in doubts if doubt.candle.timestamp not in taken]
            else:
                slots -= Intervals.of_slots(sorted(taken), step)
        _logger.warning("evidence not written: it kept changing", extra={"series": str(series)})
        alone = Verdict(ledger, NOTHING, 0)
        merged = merge_arguments(self._scope, series, candles, retention, (), announce=announce, by=by)
        _, reply = await self._write(series, bodies, alone, retention, merged)
        return ProvenMerge(merge_outcome(candles, reply), alone)

    async def change(
        self,
        series: Series,
        interval: Interval,
        retention: Retention,
        change: Callable[[Ledger], Ledger],
        *,
        why: Why | None = None,
        by: str = "",
    ) -> Ledger | None:
        """Apply a pure change to what is known inside the days of an interval; return it, or None if it kept changing.

        Args:
            series: Whose ledger.
            interval: Where something may change, on the grid.
            retention: What the cache keeps.
            change: What is known becomes what it returns; outside the interval they are equal.
            why: Given for a change by hand, which is journalled in the same step, if it changes anything.
            by: Who changes it, for the journal.

        Raises:
            StoreError: The key is no hash, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether it was changed is unknown.
        """
        step = series.timeframe.step_ms
        bodies = await self._read_days(series, days_of(interval))
        merged = merge_arguments(self._scope, series, (), retention, (), announce=False, by=by)
        for _ in range(CHANGES_LIMIT):
            known = ledger_of(series, bodies)
            ledger = change(known)
            notes: Sequence[Argument] = ()
            if why is not None and ledger != known:
                states = (_summed(each, interval, step) for each in (known, ledger))
                notes = (interval.start, interval.stop, *states, why)
            said, reply = await self._write(
                series, bodies, Verdict(ledger, NOTHING, 0), retention, merged, by_hand=notes
            )
            if said == b"done":
                return ledger
            bodies.update(zip(_changes(bodies, ledger, step), (body or b"" for body in reply), strict=True))
        return None

    async def late(self, series: Series) -> int:
        """Return how many candles came after an answer without them, since the ledger began."""
        return int(await self._client.execute_command("HGET", self._scope.evidence_key(series), "late") or 0)

    async def _read_days(self, series: Series, days: Sequence[int]) -> dict[int, bytes]:
        key = self._scope.evidence_key(series)
        parts = [days[start : start + _DAYS_A_COMMAND] for start in range(0, len(days), _DAYS_A_COMMAND)]
        bodies: dict[int, bytes] = {}
        for part in parts:
            bodies.update(_bodies(part, await self._client.execute_command("HMGET", key, *part)))
        return bodies

    async def _write(
        self,
        series: Series,
        read: Mapping[int, bytes],
        verdict: Verdict,
        retention: Retention,
        merged: Sequence[Argument],
        *,
        by_hand: Sequence[Argument] = (),
        doubts: Sequence[Doubt] = (),
    ) -> tuple[bytes, Any]:
        step = series.timeframe.step_ms
        days = days_kept(retention, step)
        changes = _changes(read, verdict.ledger, step)
        bodies: list[Argument] = []
        for day, body in changes.items():
            bodies += (day, hashlib.sha1(read[day], usedforsecurity=False).hexdigest() if read[day] else "", body)
        spans: list[Argument] = []
        for span in verdict.absent:
            spans += (span.start, span.stop - step)
        said, reply = await _EVIDENCE.run(
            self._client,
            keys=[self._scope.candle_key(series), self._scope.evidence_key(series), self._scope.journal_key(series)],
            args=[
                max(LIFE_MS, retention.ttl_s * 1_000, days * DAY_MS),
                days,
                verdict.late,
                len(changes),
                *bodies,
                int(bool(by_hand)),
                *by_hand,
                len(doubts),
                *(text for doubt in doubts for text in (doubt.candle.timestamp, doubt.member)),
                len(verdict.absent),
                *spans,
                *merged,
            ],
        )
        return said, reply


def days_kept(retention: Retention, step: int) -> int:
    """Return how many days of a series' evidence are kept: those of its candles, and `DAYS_KEPT` at most."""
    if not retention.max_candles:
        return DAYS_KEPT
    # The first and the last day are whole days whatever part of them the candles take.
    return min(ceil_div(retention.max_candles * step, DAY_MS) + 1, DAYS_KEPT)


def _bodies(days: Sequence[int], reply: Sequence[bytes | None]) -> dict[int, bytes]:
    return {day: body or b"" for day, body in zip(days, reply, strict=True)}


def ledger_of(series: Series, bodies: Mapping[int, bytes]) -> Ledger:
    """Return what the findings of these days say, by day since the epoch; a day that cannot be read says nothing."""
    step = series.timeframe.step_ms
    stretches = []
    for day in sorted(bodies):
        try:
            stretches += decode_day(bodies[day], day, step)
        except ValueError as error:
            _logger.warning("evidence unreadable", extra={"series": str(series), "day": day, "error": str(error)})
    return Ledger(stretches)


def _settle(
    candles: Sequence[Candle], doubts: Sequence[Doubt]
) -> tuple[list[Candle], dict[int, bytes], dict[int, bool]]:
    """Return the candles to merge, the members that give way to some of them, and what becomes suspect instead."""
    due = [doubt for doubt in doubts if doubt.yields]
    offered = sorted([*candles, *(doubt.candle for doubt in due)], key=attrgetter("timestamp"))
    yielding = {doubt.candle.timestamp: doubt.member for doubt in due}
    doubted = {doubt.candle.timestamp: doubt.is_live for doubt in doubts if not doubt.yields}
    return offered, yielding, doubted


def _summed(ledger: Ledger, interval: Interval, step: int) -> str:
    """Write how many slots are in which state, for the journal."""
    slots: Counter[str] = Counter()
    for start, stop, finding in ledger.within(interval):
        slots[finding.state.value] += (stop - start) // step
    return json.dumps(slots)


def _changes(read: Mapping[int, bytes], ledger: Ledger, step: int) -> dict[int, bytes]:
    """Return the days whose findings are not those that were read."""
    now = {day: encode_day(ledger.within(span_of(day)), day, step) for day in read}
    return {day: body for day, body in now.items() if body != read[day]}

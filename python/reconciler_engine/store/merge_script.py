"""The one script by which candles and what is known of their slots are written, both in one step or neither."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import CANDLES_MERGED, MEMBERS_REMOVED
from reconciler_engine.planning.audit import Doubt
from reconciler_engine.planning.ledger import Ledger
from reconciler_engine.store.client.reply_shapes import optional_bytes, text, understanding, whole
from reconciler_engine.store.client.scripts import Argument, Client, Script
from reconciler_engine.store.findings import DAY_MS, encode_day, span_of
from reconciler_engine.store.journal import ENTRIES_KEPT, LIFE_MS, Why
from reconciler_engine.store.members import pairs_of
from reconciler_engine.store.retention import Retention, days_kept
from reconciler_engine.store.scope import Scope

MERGE_CANDLES: Final = 300
"""Candles merged by one script call: about 2 ms of the server's time."""

EVIDENCE_LIFE_MS: Final = 30 * DAY_MS
"""Evidence that nobody added to for so long is dropped, and its slots are asked for anew; where a series' candles are
kept for longer it lives as long as they do."""

MERGE: Final = Script.load("reconciler_engine.store", "lua/journal.lua", "lua/candle.lua", "lua/merge.lua")

# Made once: it takes half as long so.
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode

_OUTCOMES = {"I": "inserted", "P": "present", "D": "differing", "C": "changed", "R": "refused"}
"""Meanings of the script's letters."""


@dataclass(frozen=True, slots=True)
class MergeOutcome:
    """Outcome of a merge, slot by slot (open times in ms UTC, ascending).

    Attributes:
        inserted: Slots without a candle before that have one of the given ones now.
        present: Slots that had a candle with the same values already.
        differing: Slots that had a candle with other values; it was kept.
        changed: Slots whose candle was named to give way, and gave way.
        refused: Slots that the cache's retention would have dropped again.
        extra_removed: Duplicates removed.
        foreign_removed: Members removed that were no candle of the series.
        unannounced: Why the server refused to publish the inserted ranges; empty where it did.
    """

    inserted: tuple[int, ...] = ()
    present: tuple[int, ...] = ()
    differing: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    extra_removed: int = 0
    foreign_removed: int = 0
    unannounced: str = ""

    @classmethod
    def sum(cls, outcomes: Sequence[MergeOutcome]) -> MergeOutcome:
        """Return what several merges did, one after the other."""
        return cls(
            tuple(at for one in outcomes for at in one.inserted),
            tuple(at for one in outcomes for at in one.present),
            tuple(at for one in outcomes for at in one.differing),
            tuple(at for one in outcomes for at in one.changed),
            tuple(at for one in outcomes for at in one.refused),
            sum(one.extra_removed for one in outcomes),
            sum(one.foreign_removed for one in outcomes),
            next((one.unannounced for one in outcomes if one.unannounced), ""),
        )


class Conflict(NamedTuple):
    """Why nothing was written: somebody else wrote there first.

    Attributes:
        bodies: Findings of days that are not as they were read, as they are now.
        moved: Open times of doubts whose member is not there any more as it was read, alone in its slot.
        present: Open times of candles in spans that were to have none.
    """

    bodies: Mapping[int, bytes] = {}
    moved: frozenset[int] = frozenset()
    present: frozenset[int] = frozenset()


class ChangeByHand(NamedTuple):
    """A change of evidence by hand, for the journal: what was known of an interval, what is known now, and why."""

    interval: Interval
    before: str
    after: str
    why: Why

    def written(self) -> tuple[int, int, str, str, str]:
        """Return it as the script takes it."""
        return self.interval.start, self.interval.stop, self.before, self.after, self.why.value


@dataclass(frozen=True, slots=True)
class SeriesWrite:
    """One call of the script.

    Attributes:
        series: The series written.
        retention: How much of it the cache keeps.
        candles: Candles offered, ascending by open time, one a slot, at most `MERGE_CANDLES`.
        yielding: Members by open time that give way to the candle offered for their slot.
        duplicated: Closed slots to clean of duplicates and of members that are no candle.
        read: Findings as they were read, by day since the epoch.
        ledger: Knowledge of those days from now on.
        absent: Spans that must have no candle, ascending.
        late: Candles to count as late.
        doubts: Candles of the cache that must be there as they were read.
        by_hand: Change of the evidence to journal.
        announce: Whether each inserted range is published on the series' repaired channel.
        by: Writer, for the journal: a run's id, or a command.
    """

    series: Series
    retention: Retention
    candles: Sequence[Candle] = ()
    yielding: Mapping[int, bytes] = field(default_factory=dict)
    duplicated: Sequence[int] = ()
    read: Mapping[int, bytes] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    absent: Intervals = NOTHING
    late: int = 0
    doubts: Sequence[Doubt] = ()
    by_hand: ChangeByHand | None = None
    announce: bool = False
    by: str = ""

    async def run(self, client: Client, scope: Scope) -> MergeOutcome | Conflict:
        """Write, and count what became of the candles.

        Raises:
            StoreError: A key is of another type, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether anything was written is unknown.
        """
        keys = [scope.candle_key(self.series), scope.evidence_key(self.series), scope.journal_key(self.series)]
        reply = await MERGE.run(client, keys=keys, args=self.arguments(scope))
        with understanding(f"a merge of {self.series}"):
            return self._written(*reply)

    def _written(self, said: bytes, *reply: Any) -> MergeOutcome | Conflict:
        match said:
            case b"done":
                return self._outcome(*reply)
            case b"changed":
                return Conflict(
                    bodies={
                        day: optional_bytes(body) or b"" for day, body in zip(self._changes(), reply[0], strict=True)
                    }
                )
            case b"moved":
                return Conflict(moved=_instants(reply[0]))
            case b"present":
                return Conflict(present=_instants(reply[0]))
            case _:
                raise ValueError(f"{said!r} is not an end of a merge")

    def _changes(self) -> dict[int, bytes]:
        """Return the days whose findings are not those that were read."""
        step = self.series.timeframe.step_ms
        now = {day: encode_day(self.ledger.within(span_of(day)), day, step) for day in self.read}
        return {day: body for day, body in now.items() if body != self.read[day]}

    def arguments(self, scope: Scope) -> list[Argument]:
        """Return the script's arguments: all that is short as JSON, then the texts that its lists stand for."""
        changes = self._changes()
        step, ttl_ms = self.series.timeframe.step_ms, self.retention.ttl_s * 1_000
        days = days_kept(self.retention, step)
        plan = {
            "symbol": self.series.symbol,
            "timeframe": self.series.timeframe.value,
            "step": step,
            "max_candles": self.retention.max_candles,
            "ttl": ttl_ms,
            "trim": self.retention.trim,
            "channel": scope.repaired_channel(self.series) if self.announce else "",
            "by": self.by,
            "most_entries": ENTRIES_KEPT,
            "life": LIFE_MS,
            "candles": len(self.candles),
            "yielding": [*self.yielding],
            "duplicated": [*self.duplicated],
            "doubts": [doubt.candle.timestamp for doubt in self.doubts],
            "absent": [(span.start, span.stop - step) for span in self.absent],
            "days": [(day, _digest(self.read[day])) for day in changes],
            "days_kept": days,
            "days_life": max(EVIDENCE_LIFE_MS, ttl_ms, days * DAY_MS),
            "late": self.late,
            "by_hand": [] if self.by_hand is None else [self.by_hand.written()],
        }
        members = (doubt.member for doubt in self.doubts)
        return [
            _encode(plan),
            *pairs_of(self.series, self.candles),
            *self.yielding.values(),
            *members,
            *changes.values(),
        ]

    def _outcome(self, letters: bytes, extra: int, foreign: int, unannounced: bytes) -> MergeOutcome:
        slots: dict[str, list[int]] = {letter: [] for letter in _OUTCOMES}
        for letter, candle in zip(letters.decode(), self.candles, strict=True):
            slots[letter].append(candle.timestamp)
        for letter, outcome in _OUTCOMES.items():
            CANDLES_MERGED.add(len(slots[letter]), outcome)
        MEMBERS_REMOVED.add(whole(extra), "duplicate")
        MEMBERS_REMOVED.add(whole(foreign), "foreign")
        inserted, present, differing, changed, refused = (tuple(found) for found in slots.values())
        return MergeOutcome(inserted, present, differing, changed, refused, extra, foreign, text(unannounced))


def _digest(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest() if body else ""


def _instants(texts: Iterable[Any]) -> frozenset[int]:
    return frozenset(int(float(one)) for one in texts)

"""The only script that writes candles; it writes them and the findings on their slots in one atomic step."""

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
from reconciler_engine.planning.ledger import Knowledge
from reconciler_engine.steps import Argument
from reconciler_engine.store import change_feed
from reconciler_engine.store.client.reply_shapes import text, understanding, whole
from reconciler_engine.store.client.scripts import Client, Script
from reconciler_engine.store.evidence_fields import bodies_of, encode_fields
from reconciler_engine.store.findings import DAY_MS
from reconciler_engine.store.journal import ENTRIES_KEPT, LIFE_MS, Why
from reconciler_engine.store.members import pairs_of
from reconciler_engine.store.retention import Retention, days_kept
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import digest_of

MERGE_CANDLES: Final = 300
"""Most candles merged by one script call, which takes about 2 ms of the server's time."""

EVIDENCE_LIFE_MS: Final = 30 * DAY_MS
"""Least life of a series' evidence after its last change; longer where the candles live longer. Once the evidence has
expired, its slots are requested again."""

_PARTS = (
    "store/lua/journal",
    "store/lua/feed",
    "store/lua/candle",
    "limiting/origin",
    "store/lua/doubt",
    "store/lua/verified",
    "store/lua/merge",
)
MERGE: Final = Script.load("reconciler_engine", *(f"{part}.lua" for part in _PARTS))

# Made once: encoding takes half as long this way.
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode

_OUTCOMES = {"I": "inserted", "P": "present", "D": "differing", "C": "changed", "W": "rewritten", "R": "refused"}
"""Outcomes by the letter that the script returns."""


@dataclass(frozen=True, slots=True)
class MergeOutcome:
    """Outcome of a merge. Slots are given by open time (ms UTC), ascending.

    Attributes:
        inserted: Slots that had no candle; the offered one was written.
        present: Slots whose candle already had the offered values.
        differing: Slots whose candle has other values and was kept.
        changed: Slots whose candle was named in `yielding`, was not verified, and was replaced.
        rewritten: Slots whose verified candle was replaced: the exchange has changed its values since.
        refused: Slots older than the cache's retention; their candles were not written.
        extra_removed: Number of duplicates removed.
        foreign_removed: Number of members removed that were not candles of the series.
        unannounced: Why the server refused to publish the inserted ranges; empty if it did not refuse.
        verified: Slots whose candle this merge noted as verified, again or for the first time.
    """

    inserted: tuple[int, ...] = ()
    present: tuple[int, ...] = ()
    differing: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    rewritten: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    extra_removed: int = 0
    foreign_removed: int = 0
    unannounced: str = ""
    verified: tuple[int, ...] = ()

    @classmethod
    def sum(cls, outcomes: Sequence[MergeOutcome]) -> MergeOutcome:
        """Return the joint outcome of several merges, which must be in the order of their slots."""
        kinds = (*_OUTCOMES.values(), "verified")
        return cls(
            extra_removed=sum(one.extra_removed for one in outcomes),
            foreign_removed=sum(one.foreign_removed for one in outcomes),
            unannounced=next((one.unannounced for one in outcomes if one.unannounced), ""),
            **{kind: tuple(at for one in outcomes for at in getattr(one, kind)) for kind in kinds},
        )


class Conflict(NamedTuple):
    """Why nothing was written: another process wrote first.

    Attributes:
        bodies: Current values of the evidence fields to write, some of which have changed since they were read.
        moved: Open times of `unmoved` members that were changed or removed, or whose slot got another member.
        present: Open times of candles in `absent` spans.
    """

    bodies: Mapping[str, bytes] = {}
    moved: frozenset[int] = frozenset()
    present: frozenset[int] = frozenset()


class ChangeByHand(NamedTuple):
    """The operator's change of evidence, for the journal: an interval, its states before and after, and the reason."""

    interval: Interval
    before: str
    after: str
    why: Why

    def written(self) -> tuple[int, int, str, str, str]:
        """Return the change as the script expects it."""
        return self.interval.start, self.interval.stop, self.before, self.after, self.why.value


@dataclass(frozen=True, slots=True)
class SeriesWrite:
    """Arguments of one call of the script.

    Attributes:
        series: The series written.
        retention: How much of the series the cache keeps.
        candles: Candles offered, ascending by open time, one per slot, at most `MERGE_CANDLES`.
        yielding: Members, by open time, to replace with the candle offered for their slot.
        duplicated: Closed slots to clean of duplicates.
        read: Evidence fields as they were read. If one that is to be written has changed since, nothing is written.
        known: Knowledge to store for the days of `read`.
        absent: Intervals that must hold no candle, ascending. If one does, nothing is written.
        empty: Parts of `absent` that are proved empty; members there that are not candles are removed.
        ghosts: Members to remove, by open time.
        late: Number of candles to add to the count of late ones.
        unmoved: Members, by open time, that must be unchanged and alone in their slots, else nothing is written.
        equal: Members, by open time, equal to the exchange's rows; noted as verified if unchanged.
        settled: Slots whose offered candle is noted as verified if the cache holds it after the merge.
        asked_at: When the exchange was asked for the verified slots (ms UTC).
        by_hand: The operator's change of evidence, for the journal; None without one.
        announce: Whether to publish each inserted range on the series' repaired channel.
        closes: Newest closed slots; once a candle is written there, the newest is published on the close channel.
        by: Author for the journal: a run's id or a command.
    """

    series: Series
    retention: Retention
    candles: Sequence[Candle] = ()
    yielding: Mapping[int, bytes] = field(default_factory=dict)
    duplicated: Sequence[int] = ()
    read: Mapping[str, bytes] = field(default_factory=dict)
    known: Knowledge = field(default_factory=Knowledge)
    absent: Intervals = NOTHING
    empty: Intervals = NOTHING
    ghosts: Mapping[int, bytes] = field(default_factory=dict)
    late: int = 0
    unmoved: Mapping[int, bytes] = field(default_factory=dict)
    equal: Mapping[int, bytes] = field(default_factory=dict)
    settled: Intervals = NOTHING
    asked_at: int = 0
    by_hand: ChangeByHand | None = None
    announce: bool = False
    closes: Interval | None = None
    by: str = ""

    async def run(self, client: Client, scope: Scope) -> MergeOutcome | Conflict:
        """Run the script, and add the outcomes to the metrics.

        Raises:
            StoreError: A key is of another type, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether anything was written is unknown.
        """
        reply = await MERGE.run(client, keys=scope.write_keys(self.series), args=self.arguments(scope))
        # Also where nothing changed: an earlier try may have written and been cut off before this call.
        note = change_feed.touch(scope, self.series)
        await note.script.run(client, keys=note.keys, args=note.args)
        with understanding(f"a merge of {self.series}"):
            return self._written(*reply)

    def _written(self, said: bytes, *reply: Any) -> MergeOutcome | Conflict:
        match said:
            case b"done":
                return self._outcome(*reply)
            case b"changed":
                return Conflict(bodies=bodies_of(self._changes(), reply[0]))
            case b"moved":
                return Conflict(moved=_instants(reply[0]))
            case b"present":
                return Conflict(present=_instants(reply[0]))
            case _:
                raise ValueError(f"{said!r} is not an end of a merge")

    def _changes(self) -> dict[str, bytes]:
        """Return the evidence fields whose new values differ from those read."""
        now = encode_fields(self.known, self.read, self.series.timeframe.step_ms)
        return {name: body for name, body in now.items() if body != self.read[name]}

    def arguments(self, scope: Scope) -> list[Argument]:
        """Return the script's arguments: a JSON object of small values and lists, then the lists' long texts."""
        changes = self._changes()
        step, ttl_ms = self.series.timeframe.step_ms, self.retention.ttl_s * 1_000
        days = days_kept(self.retention, step)
        pairs = pairs_of(self.series, self.candles)
        digests = self._digests(pairs)
        # merge.lua describes the keys.
        plan = {
            "symbol": self.series.symbol,
            "timeframe": self.series.timeframe.value,
            "step": step,
            "max_candles": self.retention.max_candles,
            "ttl": ttl_ms,
            "trim": self.retention.trim,
            "channel": scope.repaired_channel(self.series) if self.announce else "",
            "close": scope.close_channel(self.series) if self.announce and self.closes else "",
            "close_slots": (self.closes.start, self.closes.stop) if self.closes else (),
            "by": self.by,
            "most_entries": ENTRIES_KEPT,
            "life": LIFE_MS,
            "feed": (change_feed.ENTRIES_KEPT, change_feed.LIFE_MS),
            "judged": change_feed.judged_words(self.known.ledger, self.read, changes, step),
            "candles": len(self.candles),
            "yielding": [*self.yielding],
            "duplicated": [*self.duplicated],
            "unmoved": [*self.unmoved],
            "absent": [(span.start, span.stop - step) for span in self.absent],
            "empty": [(span.start, span.stop - step) for span in self.empty],
            "ghosts": [*self.ghosts],
            "fields": [(name, _digest(self.read[name])) for name in changes],
            "days_kept": days,
            "days_life": max(EVIDENCE_LIFE_MS, ttl_ms, days * DAY_MS),
            "late": self.late,
            "verified": [*digests],
            "verified_at": self.asked_at // 1_000,
            "by_hand": [] if self.by_hand is None else [self.by_hand.written()],
        }
        return [
            _encode(plan),
            *pairs,
            *self.yielding.values(),
            *self.unmoved.values(),
            *self.ghosts.values(),
            *changes.values(),
            b"".join(digests.values()),
        ]

    def _digests(self, pairs: Sequence[bytes]) -> dict[int, bytes]:
        """Return the digests of the members to verify, ascending by open time."""
        offered = {one.timestamp: member for one, member in zip(self.candles, pairs[1::2], strict=True)}
        members = {**self.equal, **{at: offered[at] for at in offered if self.settled.holds(at)}}
        return {at: digest_of(members[at]) for at in sorted(members)}

    def _outcome(
        self, letters: bytes, extra: int, foreign: int, unannounced: bytes, verified: Sequence[bytes]
    ) -> MergeOutcome:
        slots: dict[str, list[int]] = {outcome: [] for outcome in _OUTCOMES.values()}
        for letter, candle in zip(letters.decode(), self.candles, strict=True):
            slots[_OUTCOMES[letter]].append(candle.timestamp)
        for outcome, found in slots.items():
            CANDLES_MERGED.add(len(found), outcome)
        MEMBERS_REMOVED.add(whole(extra), "duplicate")
        MEMBERS_REMOVED.add(whole(foreign), "foreign")
        return MergeOutcome(
            extra_removed=extra,
            foreign_removed=foreign,
            unannounced=text(unannounced),
            verified=tuple(sorted(_instants(verified))),
            **{outcome: tuple(found) for outcome, found in slots.items()},
        )


def _digest(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest() if body else ""


def _instants(texts: Iterable[Any]) -> frozenset[int]:
    return frozenset(int(float(one)) for one in texts)

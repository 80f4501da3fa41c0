"""Read the candles of the cache, and write them together with their proofs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from reconciler_engine.detection.members import check_members
from reconciler_engine.errors import StoreError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import SLOTS_JUDGED
from reconciler_engine.planning.answers import Answer, Venue, closed_slots, settled_rows
from reconciler_engine.planning.audit import Copy, Doubt
from reconciler_engine.planning.ghosts import withdraw
from reconciler_engine.planning.hand_marks import drop_changed, is_accepted
from reconciler_engine.planning.proof import Verdict, judge
from reconciler_engine.planning.second_answers import weigh
from reconciler_engine.planning.verification import DEFAULT_SETTLE_MS
from reconciler_engine.planning.window import DEFAULT_GRACE_MS, closed_before
from reconciler_engine.store.candle_reads import SlotsRead, read_candles
from reconciler_engine.store.client.reply_shapes import understanding
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.evidence import CHANGES_LIMIT, EvidenceStore, LedgerRead
from reconciler_engine.store.evidence_fields import decode_fields, fields_of
from reconciler_engine.store.findings import days_of
from reconciler_engine.store.merge_script import MERGE_CANDLES, Conflict, MergeOutcome, SeriesWrite
from reconciler_engine.store.other_layouts import find_misplaced
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

_NO_VENUE = Venue()
_VALUES = ("open", "high", "low", "close", "volume")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProvenMerge:
    """Outcome of a merge, and the knowledge after it.

    Attributes:
        outcome: Outcome of the candles, slot by slot.
        verdict: Proof that the answer gave; its ledger holds the days that the answer touches.
        doubted: Candles that differed from the exchange's: those replaced and those now suspect.
        removed: Slots whose candle was removed because the exchange does not have it.
        is_foreign: Whether the answer seems to be another product's; then none of it was used.
    """

    outcome: MergeOutcome
    verdict: Verdict
    doubted: int = 0
    removed: Intervals = NOTHING
    is_foreign: bool = False


class CandleStore:
    """Candles of one scope, in the feeder's layout. It holds no state; the caller closes the client."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        """Make a store of a scope's candles."""
        self._client = client
        self._scope = scope
        self._evidence = EvidenceStore(client, scope)

    async def read(self, wanted: Sequence[tuple[Series, Interval]], *, digests: bool = False) -> list[SlotsRead]:
        """Return the candles of each series in its interval, in the order asked; with `digests` the verified ones, too.

        At most `PIPELINE_MEMBERS` slots are asked for at a time; a longer interval is read in pieces. An error that
        is one series' own is in its `SlotsRead`; nothing is read in one instant: a live writer may move between two
        pieces.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
            StoreError: The server did not answer as asked.
        """
        return await read_candles(self._client, self._scope, wanted, digests=digests)

    async def find_misplaced(self, series: Sequence[Series]) -> list[StoreError | None]:
        """Return, for each series, the reason why readers do not see it in this layout, or None if they do.

        Raises:
            StoreError: Redis did not answer.
        """
        return await find_misplaced(self._client, self._scope, series) if series else []

    async def copies(self, series: Series, interval: Interval) -> dict[int, Copy]:
        """Return the candles that are alone in their slot, by open time (ms UTC), of at most a page's slots.

        Slots with duplicates or with a foreign member are left out: those are cleaned first.

        Raises:
            StoreError: The key is not a sorted set.
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        command = ("ZRANGEBYSCORE", self._scope.candle_key(series), interval.start, f"({interval.stop}", "WITHSCORES")
        (reply,) = all_served(await self._client.pipe([command]))
        with understanding("candles"):
            return _copies(reply, series)

    async def merge(
        self,
        series: Series,
        candles: Sequence[Candle],
        retention: Retention,
        *,
        duplicated: Sequence[int] = (),
        announce: bool = True,
        by: str = "",
    ) -> MergeOutcome:
        """Insert candles into empty slots and clean slots of duplicates; a candle that is there stays.

        Removed members are journalled in the same step.
        Each call of the script is atomic and holds at most `MERGE_CANDLES` candles; cancelled in between, the calls
        made so far have taken effect, and repeating the whole is harmless.

        Args:
            series: Series of the candles.
            candles: Ascending by open time, one a slot.
            retention: Retention of the cache; a slot it would drop again is refused, not written.
            duplicated: Closed slots known to have several members, apart from those of `candles`.
            announce: Whether each inserted range is published on the series' repaired channel.
            by: Author, for the journal: a run's id, or a command.

        Raises:
            StoreError: The key is not a sorted set, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether the merge took effect is unknown.
        """
        outcomes = []
        for start in range(0, max(len(candles), len(duplicated)), MERGE_CANDLES):
            part = slice(start, start + MERGE_CANDLES)
            write = SeriesWrite(series, retention, candles[part], duplicated=duplicated[part], announce=announce, by=by)
            outcomes.append(await self._write_alone(write))
        return MergeOutcome.sum(outcomes)

    async def merge_answer(
        self,
        series: Series,
        candles: Sequence[Candle],
        retention: Retention,
        answer: Answer,
        present: Intervals,
        *,
        slots: Interval | None = None,
        venue: Venue = _NO_VENUE,
        known: LedgerRead | None = None,
        doubts: Sequence[Doubt] = (),
        verified: Intervals = NOTHING,
        members: Mapping[int, bytes] | None = None,
        removes: bool = False,
        settle_ms: int = DEFAULT_SETTLE_MS,
        grace_ms: int = DEFAULT_GRACE_MS,
        announce_close: int = 0,
        by: str = "",
    ) -> ProvenMerge:
        """Insert candles as `merge` does, and note the proofs of their answer: both or neither.

        A slot that holds a candle by now is not judged: a candle wins over any answer. If others change the evidence
        meanwhile, it is judged again, up to `CHANGES_LIMIT` times; then the candles are written without proofs.

        Args:
            series: Series of the candles.
            candles: Ascending by open time, one a slot, at most `MERGE_CANDLES`. Those that the rules do not let fill a
                slot are left out.
            retention: Retention of the cache.
            answer: Answer of the exchange that brought them.
            present: Slots of the request that had a candle when the exchange was asked.
            slots: Slots to fill and to judge; by default all of the answer's.
            venue: Facts about the exchange at that moment.
            known: Findings of the days of `answer.asked`, if they were read before; None reads them now.
            doubts: Cached candles that differ from the answer's: they are replaced or become suspect. A candle that
                changed since it was read, shares its slot, or was accepted by hand is left alone.
            verified: Slots whose candle was confirmed by an earlier answer, if it is still as it was read.
            members: Members of `answer.asked` by open time, as read before the request; None if they were not read.
            removes: Whether candles are removed that the exchange is proved not to have.
            settle_ms: How long after its close a bar can be verified.
            grace_ms: How long after its close a bar may still arrive.
            announce_close: Number of the newest closed bars among which a repair also announces the newest one.
            by: Author, for the journal: a run's id, or a command.

        Raises:
            ValueError: There are more candles than one call of the script takes.
            StoreError: A key is of another type, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether the merge took effect is unknown.
        """
        if len(candles) + len(doubts) > MERGE_CANDLES:
            raise ValueError(f"{len(candles) + len(doubts)} candles in one answer; allowed: at most {MERGE_CANDLES}")
        step = series.timeframe.step_ms
        stop = closed_before(answer.at, series.timeframe, grace_ms)
        closes = Interval(stop - announce_close * step, stop) if announce_close else None
        known = await self._known(series, answer.asked, known)
        knowledge, bodies = known.known, dict(known.bodies)
        final = settled_rows(answer, venue, step) & closed_slots(answer.at, settle_ms, step)
        unlike = Intervals.of_slots([one.candle.timestamp for one in doubts], step)
        for _ in range(CHANGES_LIMIT):
            if members is not None:
                knowledge = drop_changed(knowledge, answer.asked, members)
            doubts = [one for one in doubts if not is_accepted(knowledge, one.candle.timestamp, one.member)]
            weighed = weigh(doubts, knowledge, answer, present, venue, step, verified=verified)
            due = weighed.due
            replaced = Intervals.of_slots([one.candle.timestamp for one in due], step)
            seen = replace(answer, doubted=weighed.kept, awaited=weighed.awaited, replaced=replaced)
            if weighed.is_foreign:
                seen = replace(seen, rows=NOTHING, unusable=NOTHING, is_whole=False)
            verdict = judge(weighed.known, seen, present, venue, step, slots=slots, grace_ms=grace_ms)
            offered = [one for one in candles if verdict.usable.holds(one.timestamp)]
            going = members if members is not None and removes else {}
            ghosts = {at: member for at, member in going.items() if verdict.removable.holds(at)}
            now = withdraw(verdict.known, Intervals.of_slots(sorted(ghosts), step), answer.at)
            confirmed = NOTHING if verdict.lacking else final
            equal = (confirmed & present) - answer.uncompared - unlike
            write = SeriesWrite(
                series,
                retention,
                sorted([*offered, *(doubt.candle for doubt in due)], key=attrgetter("timestamp")),
                yielding={doubt.candle.timestamp: doubt.member for doubt in due},
                read=bodies,
                known=now,
                absent=verdict.absent,
                empty=verdict.absent & now.ledger.confirmed(answer.asked),
                ghosts=ghosts,
                late=verdict.late,
                unmoved={doubt.candle.timestamp: doubt.member for doubt in doubts},
                equal={at: member for at, member in (members or {}).items() if equal.holds(at)},
                settled=confirmed,
                asked_at=answer.at,
                announce=True,
                closes=closes,
                by=by,
            )
            written = await write.run(self._client, self._scope)
            if isinstance(written, MergeOutcome):
                _count(verdict, len(doubts), step)
                removed = Intervals.of_slots(sorted(ghosts), step)
                return ProvenMerge(written, verdict, len(doubts), removed, weighed.is_foreign)
            # Judge again, with the findings that others wrote meanwhile.
            if written.bodies:
                bodies.update(written.bodies)
                knowledge = decode_fields(series, bodies)
            doubts = [doubt for doubt in doubts if doubt.candle.timestamp not in written.moved]
            moved = Intervals.of_slots(sorted(written.moved), step)
            answer = replace(answer, uncompared=answer.uncompared | moved)
            if members is not None:
                members = {at: member for at, member in members.items() if at not in written.moved}
            present |= Intervals.of_slots(sorted(written.present), step)
        _logger.info("evidence not written: it kept changing", extra={"series": str(series)})
        write = SeriesWrite(series, retention, offered, announce=True, closes=closes, by=by)
        outcome = await self._write_alone(write)
        return ProvenMerge(outcome, Verdict(knowledge))

    async def _known(self, series: Series, asked: Interval, known: LedgerRead | None) -> LedgerRead:
        """Return the findings on the days of `asked`; read them where `known` does not have them all."""
        if known is not None and known.bodies.keys() >= set(fields_of(days_of(asked))):
            return known
        (read,) = await self._evidence.read([(series, asked)])
        if read.error is not None:
            raise read.error
        return read

    async def _write_alone(self, write: SeriesWrite) -> MergeOutcome:
        """Write candles without proofs, for which no concurrent change matters."""
        written = await write.run(self._client, self._scope)
        if isinstance(written, Conflict):
            raise StoreError(f"redis refused candles of {write.series} without a reason")
        return written


def _count(verdict: Verdict, doubts: int, step: int) -> None:
    SLOTS_JUDGED.add(verdict.absent.size(step), "absent")
    SLOTS_JUDGED.add(verdict.late, "late")
    SLOTS_JUDGED.add(doubts, "doubted")


# Every number is a double to the cache's readers. A decoder of its own for each member would take half as long again.
_decode = json.JSONDecoder(parse_int=float).decode


def _copies(reply: Any, series: Series) -> dict[int, Copy]:
    """Return by open time (ms UTC) the candles in a reply whose slot has no other member."""
    found = check_members(reply, series.symbol, series.timeframe.value, series.timeframe.step_ms)
    alone = {*found.timestamps} - {*found.duplicates, *found.malformed}
    copies = {}
    for member, score in zip(reply[::2], reply[1::2], strict=True):
        open_time = float(score)
        if open_time in alone:
            fields = _decode(member.decode())
            values = tuple(fields[name] for name in _VALUES)
            copies[int(open_time)] = Copy(member, values)
    return copies

"""The candle cache: exact reads of many series, and merges that never harm a live candle."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from reconciler_engine.detection.members import check_members
from reconciler_engine.detection.replies import Answer, make_span_replies
from reconciler_engine.errors import StoreError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.observe.metrics import CANDLES_MERGED, MEMBERS_REMOVED
from reconciler_engine.planning.audit import Copy
from reconciler_engine.store.client.connection import pack
from reconciler_engine.store.client.redis_py import reply_error
from reconciler_engine.store.client.scripts import Argument, Script
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.journal import JOURNAL_TEXT, journal_arguments
from reconciler_engine.store.members import pairs_of
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

PIPELINE_MEMBERS = 2_000
"""Members asked for at a time: other clients of the server then wait 0.4 ms at most (measured, p99)."""

# Half of them in a batch: the server reads one from memory while we examine the one before.
_BATCH_MEMBERS = PIPELINE_MEMBERS // 2

MERGE_CANDLES = 300
"""Candles merged by one script call: about 2 ms of the server's time."""

BEFORE_MERGE = f"{JOURNAL_TEXT}\n{Script.load('reconciler_engine.store', 'lua/candle.lua').text}"
"""What the merge follows: how a change is journalled, and what a candle is."""

MERGE_TEXT = Script.load("reconciler_engine.store", "lua/merge.lua").text
"""The source of the merge, for a script that merges on its way."""

MERGE = Script(f"{BEFORE_MERGE}\n{MERGE_TEXT}", "merge.lua")
"""The merge by itself; its arguments are `merge_arguments`."""

_NOTHING_YIELDS: Mapping[int, bytes] = MappingProxyType({})


class SlotsRead(NamedTuple):
    """What one series holds in an interval.

    Attributes:
        timestamps: Open times of its candles (ms UTC), ascending, duplicates kept: an int64 buffer, or the grid itself.
        duplicates: Open times that two candles or more share, ascending.
        malformed: Scores of the members that are no candle of the series.
        error: Why the series could not be read (a key of another type, for instance); then the rest is empty.
        is_whole: Whether there is one candle in each slot of the interval, and nothing else.
    """

    timestamps: memoryview[int] | array[int] | range
    duplicates: Sequence[int] = ()
    malformed: Sequence[int] = ()
    error: StoreError | None = None
    is_whole: bool = False


_VALUES = ("open", "high", "low", "close", "volume")
_OUTCOMES = {"I": "inserted", "P": "present", "D": "differing", "C": "changed", "R": "refused"}
"""What the script's codes mean."""

_NO_TIMES = memoryview(array("q")).toreadonly()
_NOTHING = SlotsRead(_NO_TIMES)


@dataclass(frozen=True, slots=True)
class MergeOutcome:
    """What a merge did, slot by slot (open times in ms UTC, ascending).

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


class CandleStore:
    """Candles of one scope, in the feeder's layout. Holds no state of its own; the client is the caller's to close."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._scope = scope

    async def read(self, wanted: Sequence[tuple[Series, Interval]]) -> list[SlotsRead]:
        """Return what each series holds in its interval, in the order asked.

        At most `PIPELINE_MEMBERS` slots are asked for at a time; a longer interval is read in pieces. An error that
        is one series' own is in its `SlotsRead`; nothing is read in one instant: a live writer may move between two
        pieces.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
            StoreError: What came is no answer to this question.
        """
        question = _Question(self._scope, wanted)
        await self._client.converse(question.batches(), question.replies)
        return question.reads()

    async def sizes(self, series: Sequence[Series]) -> list[int]:
        """Return how many members some series have; those whose key is no sorted set are left out.

        Raises:
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        sizes = await self._client.pipe([("ZCARD", self._scope.candle_key(one)) for one in series])
        return [size for size in sizes if isinstance(size, int)]

    async def copies(self, series: Series, interval: Interval) -> dict[int, Copy]:
        """Return the candles that are alone in their slot, by open time (ms UTC), of at most a page's slots.

        Slots with duplicates or with anything that is no candle are left out: those are cleaned first.

        Raises:
            StoreError: The key is no sorted set.
            StoreUnavailable: Redis cannot be reached or did not answer in time.
        """
        command = ("ZRANGEBYSCORE", self._scope.candle_key(series), interval.start, f"({interval.stop}", "WITHSCORES")
        (reply,) = all_served(await self._client.pipe([command]))
        found = check_members(reply, series.symbol, series.timeframe.value)
        doubtful = {*found.duplicates, *found.malformed}
        copies = {}
        for member, score in zip(reply[::2], reply[1::2], strict=True):
            open_time = int(float(score))
            if open_time not in doubtful:
                fields = json.loads(member, parse_int=float)
                values = tuple(fields[name] for name in _VALUES)
                copies[open_time] = Copy(member, values, fields.get("sequenceNum") is not None)
        return copies

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

        What is removed is journalled in the same step.
        Each call of the script is atomic and holds at most `MERGE_CANDLES` candles; cancelled in between, the calls
        made so far have taken effect, and repeating the whole is harmless.

        Args:
            series: Whose candles they are.
            candles: Ascending by open time, one a slot.
            retention: What the cache keeps; a slot it would drop again is refused, not written.
            duplicated: Closed slots known to hold several candles, apart from those of `candles`.
            announce: Whether each inserted range is published on the series' repaired channel.
            by: Who merges, for the journal: a run's id, or a command.

        Raises:
            StoreError: The key is no sorted set, or the server refuses to write.
            StoreUnavailable: Redis did not answer; whether the merge took effect is unknown.
        """
        outcomes = []
        for start in range(0, max(len(candles), len(duplicated)), MERGE_CANDLES):
            part = slice(start, start + MERGE_CANDLES)
            arguments = merge_arguments(
                self._scope, series, candles[part], retention, duplicated[part], announce=announce, by=by
            )
            keys = [self._scope.candle_key(series), self._scope.journal_key(series)]
            reply = await MERGE.run(self._client, keys=keys, args=arguments)
            outcomes.append(merge_outcome(candles[part], reply))
        return _sum(outcomes)


def merge_arguments(
    scope: Scope,
    series: Series,
    candles: Sequence[Candle],
    retention: Retention,
    duplicated: Sequence[int],
    *,
    announce: bool,
    by: str,
    yielding: Mapping[int, bytes] = _NOTHING_YIELDS,
) -> list[Argument]:
    """Return the script's arguments for a merge of at most `MERGE_CANDLES` candles.

    `yielding` are members by open time that give way to the candle given for their slot.
    """
    return [
        series.symbol,
        series.timeframe.value,
        series.timeframe.step_ms,
        retention.max_candles,
        retention.ttl_s * 1_000,
        int(retention.trim),
        scope.repaired_channel(series) if announce else "",
        *journal_arguments(by),
        len(candles),
        *pairs_of(series, candles),
        len(yielding),
        *(text for pair in yielding.items() for text in pair),
        *duplicated,
    ]


def merge_outcome(candles: Sequence[Candle], reply: tuple[bytes, int, int, bytes]) -> MergeOutcome:
    """Return what the script said it did with these candles, and count it."""
    codes, extra, foreign, unannounced = reply
    slots: dict[str, list[int]] = {code: [] for code in _OUTCOMES}
    for code, candle in zip(codes.decode(), candles, strict=True):
        slots[code].append(candle.timestamp)
    for code, outcome in _OUTCOMES.items():
        CANDLES_MERGED.add(len(slots[code]), outcome)
    MEMBERS_REMOVED.add(extra, "duplicate")
    MEMBERS_REMOVED.add(foreign, "foreign")
    inserted, present, differing, changed, refused = (tuple(found) for found in slots.values())
    return MergeOutcome(
        inserted, present, differing, changed, refused, extra, foreign, unannounced.decode("utf-8", "replace")
    )


class _Question:
    """What a read asks, piece by piece, and what came of it."""

    def __init__(self, scope: Scope, wanted: Sequence[tuple[Series, Interval]]) -> None:
        self.replies = make_span_replies()
        self._scope = scope
        self._wanted = wanted
        # In the order asked: whose grid it is, and the grid.
        self._pieces: list[tuple[int, range]] = []
        # Those of a series whose interval goes into several pieces.
        self._parts: dict[int, list[SlotsRead]] = {}

    def batches(self) -> Iterator[tuple[bytes, int]]:
        """Yield packed commands and their number, a batch at a time, when it can go out."""
        batch: list[bytes] = []
        slots = 0
        for index, (series, interval) in enumerate(self._wanted):
            symbol, timeframe = series.symbol, series.timeframe
            key, name = self._scope.candle_key(series), timeframe.value
            grid = interval.grid(timeframe.step_ms)
            pieces: Iterable[range] = (grid,)
            if not 0 < len(grid) <= _BATCH_MEMBERS:
                pieces, self._parts[index] = _split(grid), []
            for grid in pieces:
                size = len(grid)
                if batch and slots + size > _BATCH_MEMBERS:
                    yield b"".join(batch), len(batch)
                    batch, slots = [], 0
                self._pieces.append((index, grid))
                self.replies.ask(symbol, name, grid.start, grid.step, size)
                batch.append(pack(("ZRANGEBYSCORE", key, grid.start, f"({grid.stop}", "WITHSCORES")))
                slots += size
        if batch:
            yield b"".join(batch), len(batch)

    def reads(self) -> list[SlotsRead]:
        """Return what each series holds, once all batches have been answered."""
        reads = [_NOTHING] * len(self._wanted)
        for (index, grid), answer in zip(self._pieces, self.replies.take(), strict=True):
            read = _read_of(grid, answer)
            if index in self._parts:
                self._parts[index].append(read)
            else:
                reads[index] = read
        for index, parts in self._parts.items():
            reads[index] = _join(parts)
        return reads


def _read_of(grid: range, answer: Answer) -> SlotsRead:
    if answer is None:
        return SlotsRead(grid, is_whole=True)
    if isinstance(answer, str):
        return SlotsRead(_NO_TIMES, error=reply_error(answer))
    return SlotsRead(*answer)


def _split(grid: range) -> Iterator[range]:
    """Yield a grid in pieces of one batch each; a piece's `stop` is where reading it ends."""
    span = _BATCH_MEMBERS * grid.step
    return (range(start, min(start + span, grid.stop), grid.step) for start in range(grid.start, grid.stop, span))


def _join(pieces: list[SlotsRead]) -> SlotsRead:
    failed = next((piece for piece in pieces if piece.error is not None), None)
    if failed is not None:
        return failed
    return SlotsRead(
        join_timestamps(pieces),
        [at for piece in pieces for at in piece.duplicates],
        [at for piece in pieces for at in piece.malformed],
        # Nothing was examined in an empty interval.
        is_whole=bool(pieces) and all(piece.is_whole for piece in pieces),
    )


def join_timestamps(reads: Iterable[SlotsRead]) -> array[int]:
    """Return the open times of several reads, one after the other."""
    joined = array("q")
    for read in reads:
        joined.extend(array("q", read.timestamps))
    return joined


def _sum(outcomes: Sequence[MergeOutcome]) -> MergeOutcome:
    return MergeOutcome(
        tuple(at for one in outcomes for at in one.inserted),
        tuple(at for one in outcomes for at in one.present),
        tuple(at for one in outcomes for at in one.differing),
        tuple(at for one in outcomes for at in one.changed),
        tuple(at for one in outcomes for at in one.refused),
        sum(one.extra_removed for one in outcomes),
        sum(one.foreign_removed for one in outcomes),
        next((one.unannounced for one in outcomes if one.unannounced), ""),
    )

"""Reads of many series' candles at once, in pieces that other clients of the server hardly notice."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from reconciler_engine.detection.replies import Answer, make_span_replies
from reconciler_engine.errors import StoreError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.steps import Command
from reconciler_engine.store.client.connection import pack
from reconciler_engine.store.client.redis_py import reply_error
from reconciler_engine.store.evidence_fields import ACCEPTED
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import block_fields

PIPELINE_MEMBERS = 2_000
"""Members asked for at a time: other clients of the server then wait 0.4 ms at most (measured, p99)."""

# Half of them in a batch: the server reads one from memory while we examine the one before.
_BATCH_MEMBERS = PIPELINE_MEMBERS // 2


class SlotsRead(NamedTuple):
    """Candles of one series in an interval, as they were read.

    Attributes:
        timestamps: Open times of its candles (ms UTC), ascending, duplicates kept: an int64 buffer, or the grid itself.
        duplicates: Open times that two candles or more share, ascending.
        malformed: Slots of members that are not candles of the series, one each.
        fillers: Open times that no candle but fillers has, ascending; they are among `timestamps`.
        unverified: Open times of the other candles that are not verified, ascending; empty where that was not asked.
        changed: Those of them whose slot held a verified candle once that is there no more, or not alone.
        error: Why the series could not be read (a key of another type, for instance); then the rest is empty.
        is_whole: Whether there is one candle in each slot of the interval, none a filler, and nothing else.
    """

    timestamps: memoryview[int] | array[int] | range
    duplicates: Sequence[int] = ()
    malformed: Sequence[int] = ()
    fillers: Sequence[int] = ()
    unverified: Sequence[int] = ()
    changed: Sequence[int] = ()
    error: StoreError | None = None
    is_whole: bool = False


_NO_TIMES = memoryview(array("q")).toreadonly()
_NOTHING = SlotsRead(_NO_TIMES)


def failed_read(error: StoreError) -> SlotsRead:
    """Return the read of a series that could not be read."""
    return SlotsRead(_NO_TIMES, error=error)


class CandleQuestion:
    """A read of many series: its commands, piece by piece, and their replies."""

    def __init__(self, scope: Scope, wanted: Sequence[tuple[Series, Interval]], *, digests: bool = False) -> None:
        self.replies = make_span_replies()
        self._scope = scope
        self._wanted = wanted
        self._digests = digests
        self._fields: dict[range, Sequence[str]] = {}
        # In the order asked: whose grid it is, and the grid.
        self._pieces: list[tuple[int, range]] = []
        # Those of a series whose interval goes into several pieces.
        self._parts: dict[int, list[SlotsRead]] = {}

    def batches(self) -> Iterator[tuple[bytes, int]]:
        """Yield packed commands and the number of spans they ask about, a batch at a time, when it can go out."""
        batch: list[bytes] = []
        slots = 0
        for size, commands in self.spans():
            if batch and slots + size > _BATCH_MEMBERS:
                yield b"".join(batch), len(batch)
                batch, slots = [], 0
            batch.append(b"".join(map(pack, commands)))
            slots += size
        if batch:
            yield b"".join(batch), len(batch)

    def spans(self) -> Iterator[tuple[int, Sequence[Command]]]:
        """Yield the number of slots and the commands of each span; a reply to each of them is expected from then on."""
        for index, (series, interval) in enumerate(self._wanted):
            symbol, timeframe = series.symbol, series.timeframe
            key, name = self._scope.candle_key(series), timeframe.value
            grid = interval.grid(timeframe.step_ms)
            pieces: Iterable[range] = (grid,)
            if not 0 < len(grid) <= _BATCH_MEMBERS:
                pieces, self._parts[index] = _split(grid), []
            for grid in pieces:
                size = len(grid)
                self._pieces.append((index, grid))
                commands: list[Command] = [("ZRANGEBYSCORE", key, grid.start, f"({grid.stop}", "WITHSCORES")]
                fields = self._fields_of(grid) if self._digests else ()
                if fields:
                    # Digests first: a later one can make a candle look changed, but never verified by mistake.
                    commands.insert(0, ("HMGET", self._scope.evidence_key(series), *fields, ACCEPTED))
                self.replies.ask(symbol, name, grid.start, grid.step, size, len(fields))
                yield size, commands

    def _fields_of(self, grid: range) -> Sequence[str]:
        """Return the fields of the digests of a grid, which many series share."""
        if grid not in self._fields:
            self._fields[grid] = block_fields(Interval(grid.start, grid.stop), grid.step)
        return self._fields[grid]

    def reads(self) -> list[SlotsRead]:
        """Return the candles of each series, once all batches have been answered."""
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
    match answer:
        case None:
            return SlotsRead(grid, is_whole=True)
        case str():
            return failed_read(reply_error(answer))
        case (unverified, changed):
            return SlotsRead(grid, unverified=unverified, changed=changed, is_whole=True)
        case _:
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
        [at for piece in pieces for at in piece.fillers],
        [at for piece in pieces for at in piece.unverified],
        [at for piece in pieces for at in piece.changed],
        # Nothing was examined in an empty interval.
        is_whole=bool(pieces) and all(piece.is_whole for piece in pieces),
    )


def join_timestamps(reads: Iterable[SlotsRead]) -> array[int]:
    """Return the open times of several reads, one after the other."""
    joined = array("q")
    for read in reads:
        joined.extend(array("q", read.timestamps))
    return joined

"""Read the candles of many series, node by node, in pieces small enough not to delay other clients."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import trio

from reconciler_engine.detection.replies import Answer, make_span_replies
from reconciler_engine.errors import NodeUnavailable, StoreError, StoreUnavailable
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.steps import Command
from reconciler_engine.store.client.connection import pack
from reconciler_engine.store.client.redis_py import has_moved, reply_error
from reconciler_engine.store.client.reply_shapes import optional_bytes, understanding
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence_fields import ACCEPTED
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.verified_fields import block_fields

PIPELINE_MEMBERS = 2_000
"""Members in one request: other clients then wait 0.4 ms at most (measured, 99th percentile)."""

# Half of them in a batch: the server reads one from memory while we examine the one before.
_BATCH_MEMBERS = PIPELINE_MEMBERS // 2


class SlotsRead(NamedTuple):
    """Candles of one series in an interval, as they were read.

    Attributes:
        timestamps: Open times of its candles (ms UTC), ascending, duplicates kept: an int64 buffer, or the grid itself.
        duplicates: Open times that two candles or more share, ascending.
        malformed: Slots of members that are not candles of the series, one each.
        fillers: Open times whose only candles are fillers, ascending; `timestamps` has them too.
        unverified: Open times of unverified candles other than fillers, ascending; empty if not asked for.
        changed: Those of `unverified` whose slot once held a verified candle that was replaced or joined by another.
        error: Why the series could not be read (a key of another type, for instance); then the rest is empty.
        is_whole: Whether each slot holds exactly one candle, not a filler, and there are no other members.
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


_SENT_AWAY = frozenset({"ASK", "CLUSTERDOWN", "MOVED", "TRYAGAIN"})

Wanted = Sequence[tuple[Series, Interval]]


async def read_candles(client: TrioRedis, scope: Scope, wanted: Wanted, *, digests: bool) -> list[SlotsRead]:
    """Return the candles of each series in its interval, in the order asked; see `CandleStore.read`."""
    parts = await client.split([scope.candle_key(series) for series, _ in wanted])
    if len(parts) <= 1:
        return await _read_of_node(client, scope, wanted, digests=digests)
    found: dict[int, SlotsRead] = {}

    async def read_part(part: Sequence[int]) -> None:
        mine = [wanted[index] for index in part]
        try:
            reads = await _read_of_node(client, scope, mine, digests=digests)
        except StoreUnavailable as error:
            reads = [failed_read(error)] * len(part)
        found.update(zip(part, reads, strict=True))

    async with trio.open_nursery() as nursery:
        for part in parts:
            nursery.start_soon(read_part, part)
    return [found[index] for index in range(len(wanted))]


async def _read_of_node(client: TrioRedis, scope: Scope, wanted: Wanted, *, digests: bool) -> list[SlotsRead]:
    """Read the series of one node; read those that it redirects again, each by itself."""
    question = CandleQuestion(scope, wanted, digests=digests)
    key = scope.candle_key(wanted[0][0]) if wanted else ""
    try:
        await client.converse(question.batches(), question.replies, key=key)
    except NodeUnavailable as error:
        return [failed_read(error)] * len(wanted)
    reads = question.reads()
    if any(has_moved(read.error) for read in reads):
        client.drop_connections()
    for index, read in enumerate(reads):
        if read.error is not None and read.error.code in _SENT_AWAY:
            reads[index] = await _read_alone(client, CandleQuestion(scope, [wanted[index]], digests=digests))
    return reads


async def _read_alone(client: TrioRedis, question: CandleQuestion) -> SlotsRead:
    """Read a series by commands that follow the cluster's redirections."""
    for _, commands in question.spans():
        for reply in await client.pipe(commands):
            if isinstance(reply, StoreError):
                return failed_read(reply)
            question.replies.feed(_written(reply))
    (read,) = question.reads()
    return read


def _written(reply: Any) -> bytes:
    """Return a list of texts as the server wrote it."""
    with understanding("candles"):
        texts = [optional_bytes(text) for text in reply]
    bulks = (b"$-1\r\n" if text is None else b"$%d\r\n%s\r\n" % (len(text), text) for text in texts)
    return b"".join((b"*%d\r\n" % len(texts), *bulks))

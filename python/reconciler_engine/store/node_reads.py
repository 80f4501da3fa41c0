"""Reads of many series' candles node by node: a node that is away costs its own series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from reconciler_engine.errors import NodeUnavailable, StoreError, StoreUnavailable
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.store.candle_reads import CandleQuestion, SlotsRead, failed_read
from reconciler_engine.store.client.redis_py import has_moved
from reconciler_engine.store.client.reply_shapes import optional_bytes, understanding
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

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
    """Read the series of one node; those that it sends away are asked for again one by one."""
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
    """Read a series by commands that are followed to where a cluster sends them."""
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

"""Detection of series that readers take from another layout than the configured one: reported, and not filled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from reconciler_engine.errors import StoreDenied, StoreError, own_fault
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.trio_redis import TrioRedis, each_apart
from reconciler_engine.store.scope import Layout, Scope

_RIVALS: Final = {
    Layout.USER: (Layout.EXCHANGE,),
    Layout.EXCHANGE: (Layout.EXCHANGE, Layout.USER),
    Layout.OVERFLOW: (Layout.EXCHANGE, Layout.USER),
}
"""For each configured layout, the layouts whose keys decide whether it may be filled. Readers take the exchange's key;
the user's key if the exchange's is empty; the overflow's key if both are empty."""


_CANDLES: Final = re.compile(r"((?:user)?candles(?::\d+){1,2}):([^:]+:[^:]+)\Z")
_SCANS: Final = 20
_SCANNED: Final = 2_000


async def find_misplaced(client: TrioRedis, scope: Scope, series: Sequence[Series]) -> list[StoreError | None]:
    """Return for each series why it must not be filled; None if filling it helps readers.

    Filling is wrong where no reader would look, or where it would move readers to a key with fewer candles. A key on a
    node that is away is taken as empty; where filling could then move readers, the node's error is returned.

    Raises:
        StoreError: Redis did not answer.
    """
    found = await _exist(client, scope, series, _RIVALS[scope.layout])
    return [_fault(scope, one, *there) for one, there in zip(series, found, strict=True)]


async def count_keys(client: TrioRedis, scope: Scope, series: Sequence[Series]) -> dict[Layout, int]:
    """Return how many of these series have a key in each layout; keys on nodes that are away are left out.

    Raises:
        StoreError: Redis did not answer.
    """
    found = await _exist(client, scope, series, tuple(Layout))
    return {layout: sum(layout in there for there, _ in found) for layout in Layout}


async def find_prefixes(client: TrioRedis, series: Sequence[Series]) -> list[str]:
    """Return prefixes under which some of these series have candle keys, whatever their ids and layout.

    Looks at about 40,000 keys of one server; a user who may not SCAN gets no prefix.

    Raises:
        StoreError: Redis did not answer.
    """
    names, cursor, found = {str(one) for one in series}, b"0", set[str]()
    for _ in range(_SCANS):
        try:
            cursor, keys = await client.execute_command("SCAN", cursor, "MATCH", "*candles:*", "COUNT", _SCANNED)
        except StoreDenied:
            break
        for key in keys:
            prefix = _CANDLES.match(key.decode("utf-8", "replace"))
            if prefix is not None and prefix[2] in names:
                found.add(prefix[1])
        if cursor == b"0":
            break
    return sorted(found)


def keys_read(scope: Scope, series: Series) -> list[str]:
    """Return the keys whose existence is checked before a series is filled."""
    return [scope.candle_key(series, layout) for layout in _RIVALS[scope.layout]]


async def _exist(
    client: TrioRedis, scope: Scope, series: Sequence[Series], layouts: Sequence[Layout]
) -> list[tuple[list[Layout], StoreError | None]]:
    """Return for each series the layouts in which it has a key, and the first error if a key could not be checked."""
    commands = [("EXISTS", scope.candle_key(one, layout)) for one in series for layout in layouts]
    replies = await each_apart(client.pipe(commands), len(commands))
    found = []
    for start in range(0, len(replies), len(layouts)):
        part = replies[start : start + len(layouts)]
        error = next((own_fault(reply, waits=False) for reply in part if isinstance(reply, StoreError)), None)
        found.append(([layout for layout, exists in zip(layouts, part, strict=True) if exists == 1], error))
    return found


def _fault(scope: Scope, series: Series, there: Sequence[Layout], error: StoreError | None) -> StoreError | None:
    if scope.layout is Layout.EXCHANGE:
        if Layout.EXCHANGE in there or not there:
            return None if Layout.EXCHANGE in there else error
        why = f"{scope.candle_key(series)} is empty, and filling it would move readers to it from"
    elif not there:
        return None
    else:
        why = "not filled, since readers look first at"
    other = there[0]
    return StoreError(
        f"{why} {scope.candle_key(series, other)}, which is not empty: layout {scope.layout} is the wrong choice; "
        f"allowed: layout {other}, or allow_other_layout true"
    )

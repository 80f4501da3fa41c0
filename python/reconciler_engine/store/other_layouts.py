"""Series that readers take from another layout than the configured one: they are told, not filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler_engine.errors import StoreError, own_fault
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.trio_redis import TrioRedis, each_apart
from reconciler_engine.store.scope import Layout, Scope

_RIVALS: Final = {
    Layout.USER: (Layout.EXCHANGE,),
    Layout.EXCHANGE: (Layout.EXCHANGE, Layout.USER),
    Layout.OVERFLOW: (Layout.EXCHANGE, Layout.USER),
}
"""Layouts whose keys decide whether one may be filled. Readers take the exchange's key, the user's only if that one is
empty, and the overflow's only if both are."""


async def find_misplaced(client: TrioRedis, scope: Scope, series: Sequence[Series]) -> list[StoreError | None]:
    """Return why filling a series would help no reader, or would move readers to a poorer key; None where it helps.

    A key on a node that is away counts as none, unless readers could be moved by that.

    Raises:
        StoreError: Redis did not answer.
    """
    found = await _exist(client, scope, series, _RIVALS[scope.layout])
    return [_fault(scope, one, *there) for one, there in zip(series, found, strict=True)]


async def count_keys(client: TrioRedis, scope: Scope, series: Sequence[Series]) -> dict[Layout, int]:
    """Return how many of some series have a key in each layout, as far as their nodes are there.

    Raises:
        StoreError: Redis did not answer.
    """
    found = await _exist(client, scope, series, tuple(Layout))
    return {layout: sum(layout in there for there, _ in found) for layout in Layout}


def keys_read(scope: Scope, series: Series) -> list[str]:
    """Return the keys of other layouts that are looked at before a series is filled."""
    return [scope.candle_key(series, layout) for layout in _RIVALS[scope.layout]]


async def _exist(
    client: TrioRedis, scope: Scope, series: Sequence[Series], layouts: Sequence[Layout]
) -> list[tuple[list[Layout], StoreError | None]]:
    """Return the layouts in which each series has a key, and why that is not known of all of them."""
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

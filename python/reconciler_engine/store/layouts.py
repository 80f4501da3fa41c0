"""Whose candles readers look at: a series in another layout than the configured one is told, not filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler_engine.errors import StoreError, own_fault
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.trio_redis import TrioRedis
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

    Of a series whose other keys are on a node that is away, that is the reason.

    Raises:
        StoreError: Redis did not answer.
    """
    found = await _exist(client, scope, series, _RIVALS[scope.layout])
    return [
        own_fault(there) if isinstance(there, StoreError) else _fault(scope, one, there)
        for one, there in zip(series, found, strict=True)
    ]


async def count_keys(client: TrioRedis, scope: Scope, series: Sequence[Series]) -> dict[Layout, int]:
    """Return how many of some series have a key in each layout; those that cannot be asked for are left out.

    Raises:
        StoreError: Redis did not answer.
    """
    found = [there for there in await _exist(client, scope, series, tuple(Layout)) if not isinstance(there, StoreError)]
    return {layout: sum(layout in there for there in found) for layout in Layout}


def keys_read(scope: Scope, series: Series) -> list[str]:
    """Return the keys of other layouts that are looked at before a series is filled."""
    return [scope.candle_key(series, layout) for layout in _RIVALS[scope.layout]]


async def _exist(
    client: TrioRedis, scope: Scope, series: Sequence[Series], layouts: Sequence[Layout]
) -> list[list[Layout] | StoreError]:
    """Return the layouts in which each series has a key, or why that is not known."""
    replies = await client.pipe([("EXISTS", scope.candle_key(one, layout)) for one in series for layout in layouts])
    found: list[list[Layout] | StoreError] = []
    for start in range(0, len(replies), len(layouts)):
        part = replies[start : start + len(layouts)]
        there = [layout for layout, exists in zip(layouts, part, strict=True) if exists]
        found.append(next((reply for reply in part if isinstance(reply, StoreError)), there))
    return found


def _fault(scope: Scope, series: Series, there: Sequence[Layout]) -> StoreError | None:
    if scope.layout is Layout.EXCHANGE:
        if Layout.EXCHANGE in there or not there:
            return None
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

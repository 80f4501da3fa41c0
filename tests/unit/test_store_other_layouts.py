"""Keys in other layouts where the node of one is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reconciler_engine.errors import NodeAway, StoreUnavailable
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.other_layouts import count_keys, find_misplaced
from reconciler_engine.store.scope import Layout, Scope

SERIES = [Series("BTC-USD", Timeframe.M1)]
AWAY = NodeAway("away for 30 s")


class Replies:
    """A client with these replies to EXISTS."""

    def __init__(self, *replies: Any) -> None:
        self._replies = [*replies]

    async def pipe(self, commands: Sequence[Any]) -> list[Any]:
        assert len(commands) == len(self._replies)
        return self._replies


@pytest.mark.parametrize(
    ("layout", "replies", "told"),
    [
        (Layout.USER, (AWAY,), None),
        (Layout.OVERFLOW, (AWAY, AWAY), None),
        (Layout.OVERFLOW, (AWAY, 1), "readers look first at"),
        (Layout.EXCHANGE, (1, AWAY), None),
        (Layout.EXCHANGE, (0, AWAY), "away for 30 s"),
    ],
)
async def test_a_key_on_a_node_that_is_away_stops_only_what_could_move_readers(layout, replies, told):
    client: Any = Replies(*replies)
    (found,) = await find_misplaced(client, Scope(1, 1, "", layout), SERIES)
    assert (found is None) if told is None else (told in str(found))


async def test_an_outage_of_all_is_no_ones_own():
    client: Any = Replies(StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable, match=r"^away$"):
        await find_misplaced(client, Scope(1, 1, ""), SERIES)


async def test_keys_are_counted_as_far_as_they_can_be():
    client: Any = Replies(1, AWAY, 0)
    assert await count_keys(client, Scope(1, 1, ""), SERIES) == {Layout.USER: 1, Layout.EXCHANGE: 0, Layout.OVERFLOW: 0}

"""When a node that does not serve is tried again, and as what its absence is told."""

from __future__ import annotations

import pytest
import trio

from reconciler_engine.errors import NodeAway, NodeUnavailable, StoreDenied, StoreUnavailable
from reconciler_engine.store.client.away import FAILOVER_S, Away

pytestmark = pytest.mark.usefixtures("autojump_clock")

PLACE = ("10.0.0.1", 7_000)
GONE = StoreUnavailable("connection refused")


async def test_a_node_that_refuses_is_tried_by_each_until_a_failover_is_over():
    away = Away()
    told = away.note(PLACE, GONE)
    assert (type(told), str(told)) == (NodeUnavailable, "connection refused")
    assert away.refusal(PLACE) is None
    await trio.sleep(FAILOVER_S)
    assert isinstance(away.note(PLACE, GONE), NodeAway)
    assert isinstance(away.refusal(PLACE), NodeAway)
    await trio.sleep(1)
    assert away.refusal(PLACE) is None
    assert isinstance(away.refusal(PLACE), NodeAway)
    away.served(PLACE)
    assert PLACE not in away


async def test_a_node_that_is_silent_holds_up_one_caller_at_a_time():
    away = Away()
    away.note(PLACE, GONE, in_vain_s=5)
    assert type(away.refusal(PLACE)) is NodeUnavailable
    await trio.sleep(5)
    assert away.refusal(PLACE) is None
    assert type(away.refusal(PLACE)) is NodeUnavailable


async def test_an_error_of_another_kind_is_no_absence():
    away, denied = Away(), StoreDenied("NOPERM")
    assert away.note(PLACE, denied) is denied
    assert PLACE not in away

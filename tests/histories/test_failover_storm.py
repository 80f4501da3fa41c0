"""Failovers in the middle of passes: the primary is killed or cut off, and a replica that lags takes its place.

Two engines work through an address, by a Sentinel, or on a cluster. The history of all that their processes asked is
checked, and each yes of the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path

import pytest
from tests.conftest import FIGURE
from tests.histories.failing_servers import (
    ByCluster,
    Loss,
    servers_by_address,
    servers_by_cluster,
    servers_by_sentinel,
)
from tests.histories.recorder import ASK_FOLLOWED
from tests.histories.second_opinion import NoChecker, build_checker, second_opinion
from tests.histories.storm import IN_A_CLUSTER, SOMETIMES, Storm, open_storm
from tests.integration.engines import DENSE, THIN

WAYS = {"address": servers_by_address, "Sentinel": servers_by_sentinel, "Cluster": servers_by_cluster}
FAILOVERS = {"address": 60, "Sentinel": 60, "Cluster": 80}
RESHARDINGS = 20
MORE = 6
"""Most failovers beyond those asked for, until each rare state was reached: a busy machine may pass one by."""
SECONDS_EACH = 60
HISTORY = "history.jsonl"


async def weather(folder: Path, way: str, losses: Sequence[Loss], reshardings: int = 0) -> str:
    """Go through failovers, and through movements of slots on a cluster; return the figures."""
    patience_s, rare = 120 + SECONDS_EACH * (len(losses) + MORE), IN_A_CLUSTER if reshardings else SOMETIMES
    async with WAYS[way](folder) as servers, open_storm(servers, folder, patience_s) as storm:
        keys = [storm.run.key(THIN), storm.fence, storm.run.key(DENSE)]
        if isinstance(servers, ByCluster):
            await servers.arrange(keys)
        for number, loss in enumerate(losses):
            if number % 4 == 0:
                await storm.kill_claimant()
            if isinstance(servers, ByCluster) and number < reshardings:
                await reshard(storm, servers, keys, number)
            await storm.fail_over(keys[number % len(keys)], loss)
        await storm.settle()
        for loss in islice(cycle(losses), MORE):
            if not storm.lacking(rare):
                break
            await storm.kill_claimant()
            await storm.settle()
            await storm.fail_over(storm.fence, loss)
            await storm.settle()
        storm.history.write(folder / HISTORY)
        moved = f"{reshardings} reshardings, " if reshardings else ""
        return f"by {way}, {moved}{storm.check(rare)}"


async def reshard(storm: Storm, servers: ByCluster, keys: Sequence[str], number: int) -> None:
    """Move a slot under passes, until a process was sent after a key of it."""
    storm.newest("lease.lua")
    followed = storm.history.marks[ASK_FOLLOWED]

    async def is_followed() -> bool:
        storm.newest("lease.lua")
        return storm.history.marks[ASK_FOLLOWED] > followed

    await servers.reshard(keys[number % len(keys)], keys, is_followed)


@pytest.mark.parametrize(
    ("way", "losses"),
    [
        pytest.param("address", [Loss.KILLED], marks=pytest.mark.soak),
        ("Sentinel", [Loss.CUT_OFF]),
        pytest.param("Cluster", [Loss.KILLED, Loss.CUT_OFF], marks=pytest.mark.slow),
    ],
)
async def test_a_failover_does_no_harm(tmp_path, record_property, way, losses):
    record_property(FIGURE, await weather(tmp_path, way, losses, reshardings=int(way == "Cluster")))


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
async def test_two_hundred_failovers_do_no_harm(tmp_path, record_property, way):
    losses = [loss for loss, _ in zip(cycle(Loss), range(FAILOVERS[way]), strict=False)]
    record_property(FIGURE, await weather(tmp_path, way, losses, RESHARDINGS if way == "Cluster" else 0))
    with suppress(NoChecker):
        is_explained, said = second_opinion(build_checker(tmp_path), tmp_path / HISTORY)
        record_property(FIGURE, f"by {way}, by porcupine: {said}")
        assert is_explained

"""Invariants of a world that has come to rest, after any faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import trio
from tests.chaos.world import World, values_of

from reconciler_engine.market.series import Series
from reconciler_engine.planning.ledger import CONFIRMED
from reconciler_engine.store.evidence import EvidenceStore

LATE_S = 0.5
"""A permit may be used 250 ms late, and an answer takes its time: requests may come this much closer."""

SETTLE_S = 150.0
"""Bound of the wait for rest; reached only when something is broken: one that nobody knows to be dead may hold a page
for 90 s."""


async def settle(world: World, patience_s: float = SETTLE_S) -> None:
    """Wait until the cache is what the exchange has; fail with what differs."""
    difference = "nothing read"
    with trio.move_on_after(patience_s):
        while True:
            world.tree.ensure_running()
            difference = await world.until_done(partial(differ, world))
            if not difference:
                return
            await trio.sleep(0.2)
    raise AssertionError(f"not at rest within {patience_s:g} s: {difference}")


async def differ(world: World) -> str:
    """Say how the cache differs from the truth; nothing where it does not."""
    parts = [await _differ(world, series) for series in world.plan.series]
    return "; ".join(part for part in parts if part)


async def _differ(world: World, series: Series) -> str:
    window = world.plan.window(series, world.exchange.clock.now())
    truth = world.truth(series, window)
    found = await world.held(series)
    members = [one for one in found if one and one["timestamp"] in window]
    held = {one["timestamp"]: values_of(one) for one in members}
    twice = [at for at, count in Counter(one["timestamp"] for one in members).items() if count > 1]
    other = [at for at in truth.keys() & held.keys() if truth[at] != held[at]]
    counts = {
        "missing": len(truth.keys() - held.keys()),
        "more than once": len(twice),
        "invented": len(held.keys() - truth.keys()),
        "of other values": len(other),
        "no candle": sum(not one for one in found),
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{series}: {said}" if said else ""


async def check(world: World, *, since: int = 0, held_s: float = 0.0) -> None:
    """Check a world at rest: live candles, the ledger, the budget.

    Args:
        world: Which.
        since: Requests that were looked at before.
        held_s: How long (s) the proxy may have held a request back, to let it go with others.
    """
    await check_live(world)
    await check_ledger(world)
    times_s = [one.time_ms / 1_000 for one in list(world.exchange.log.records)[since:]]
    excess = budget_excess(times_s, world.plan.requests_per_s, held_s + LATE_S)
    assert excess <= 1, f"{excess:.1f} requests beyond the budget in a window"


async def check_live(world: World) -> None:
    """No live candle gave way to a poorer one."""
    for series in {series for series, _ in world.live}:
        held = {one["timestamp"]: one for one in await world.held(series) if one}
        for (of, at), last in world.live.items():
            if of == series:
                found = held[at].get("sequenceNum"), float(held[at]["volume"])
                assert found in [(one.sequence_num, one.volume) for one in last], (str(series), at, found, last)


async def check_ledger(world: World) -> None:
    """Slots that the ledger calls empty have no candle at the exchange."""
    store = EvidenceStore(world.client, world.scope)
    wanted = [(series, world.plan.window(series, world.exchange.clock.now())) for series in world.plan.series]
    for (series, window), read in zip(wanted, await store.read(wanted), strict=True):
        assert read.error is None
        truth = world.truth(series, window)
        for start, stop, finding in read.ledger.findings:
            denied = [at for at in truth if start <= at < stop and finding.state in CONFIRMED]
            assert not denied, (series, finding, denied)


def budget_excess(times_s: Sequence[float], per_s: int, late_s: float) -> float:
    """The most requests in any window beyond burst + rate x its length; both are `per_s`.

    Args:
        times_s: When the exchange had each request.
        per_s: The budget.
        late_s: How late a request may come after its permit: a window counts for so much longer.
    """
    worst = lowest = 0.0
    first_s = min(times_s, default=0.0)
    for number, at in enumerate(sorted(times_s)):
        # Requests of [first, number] less rate x time between them is the greatest over all firsts in one walk.
        level = number - per_s * (at - first_s)
        lowest = min(lowest, level)
        worst = max(worst, level - lowest + 1)
    return worst - per_s - per_s * late_s


async def end(world: World) -> None:
    """Have the tree drain: exit 0, no process left, no lease left."""
    assert await world.tree.stop() == 0
    await world.tree.wait_gone()
    if world.own is not None:
        leases = await world.client.keys(world.scope.key("lease:*").replace("{", "\\{"))
        assert leases == [], f"leases are left: {leases}"

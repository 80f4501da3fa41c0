"""Processes note their own calls; joined, those show a fault that is planted in each of them."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.chaos.tree import Tree
from tests.chaos.waiting import wait_until, wait_until_so
from tests.histories.checks import check_all, check_authority, check_epochs, check_slots, minutes_asked
from tests.histories.history import History, recorded_environment
from tests.histories.planted import COMPARE_AND_SET_REMOVED, EPOCH_NOT_RAISED, FENCE_REMOVED
from tests.integration.engines import DENSE, MINUTE, Engine, engine, truth
from tests.integration.test_two_engines import Director, open_director

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.store.members import member_of

PASSES: dict[str, Any] = {"symbols": ["BTC-USD"], "timeframes": ["1m"], "quick_scan_window_ms": 240 * MINUTE}
NEVER = "0 0 1 1 *"
SLOW = FaultRule("slow", "slow_head", path="*/candles", values={"seconds": 1.5})


@pytest.fixture
def history(tmp_path, monkeypatch) -> Iterator[History]:
    """The history of this process, which has a worker, and of all that it starts."""
    found = History()
    for name, value in recorded_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    with found.recording(monkeypatch, "worker"):
        yield found


async def direct(director: Director) -> str:
    """Have a director make a pass; return how that ended."""
    await director.order()
    return await anext(director.lines)


async def is_free(run: Engine, lease: str) -> bool:
    return not await run.parts.client.exists(lease)


async def take_over(run: Engine, url: str) -> None:
    """Stop a director in the middle of its pass, have another one take over, and wake the first."""
    async with open_director(run, url) as first, open_director(run, url) as second:
        lease = run.parts.scope.key("lease:gap_scan")
        await first.order()
        while await run.parts.client.get(lease) != first.name:
            await trio.lowlevel.checkpoint()
        await first.stop()
        await wait_until_so(partial(is_free, run, lease))
        assert await direct(second) == "done"
        first.process.send_signal(signal.SIGCONT)
        await anext(first.lines)


@pytest.mark.slow
async def test_a_fence_that_is_removed_in_each_process_is_found(redis_url, tmp_path, history, monkeypatch):
    async with engine(redis_url, patience_s=120, **PASSES) as run:
        await take_over(run, redis_url)
        history.join(tmp_path)
        assert len({call.process for call in history.calls}) == 3
        assert check_all(history, minutes_asked(run.exchange.log), per_s=1_000, late_s=1.0) == []
        monkeypatch.setenv("HISTORY_FAULT", FENCE_REMOVED)
        faults: list[str] = []
        # One that learns first from its lease that it is superseded does nothing more for its run.
        while not faults:
            await take_over(run, redis_url)
            history.join(tmp_path)
            faults += check_authority(history)
    assert all("superseded by" in fault for fault in faults)


@pytest.mark.slow
async def test_an_epoch_that_no_process_raises_is_found(redis_url, tmp_path, history, monkeypatch):
    async with engine(redis_url, patience_s=120, **PASSES) as run:
        for fault in ("", EPOCH_NOT_RAISED):
            if fault:
                monkeypatch.setenv("HISTORY_FAULT", fault)
                await run.parts.client.delete(run.parts.scope.fence_key("gap_scan"))
            async with open_director(run, redis_url) as first, open_director(run, redis_url) as second:
                assert [await direct(first), await direct(second)] == ["done", "done"]
            history.join(tmp_path)
            assert bool([*check_epochs(history)]) is bool(fault)


def candle_of(at: int, *values: float) -> Candle:
    open_, high, low, close, volume = values
    return Candle(at, open_, high, low, close, volume)


@asynccontextmanager
async def open_tree(run: Engine, url: str, folder: Path, fault: str) -> AsyncIterator[Tree]:
    """Run a whole engine, whose processes note their calls in `folder`."""
    config = run.parts.config
    arguments = [
        "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0", "--workers", "1", "--listen", "off",
        "--quick-scan-window-ms", str(config.quick_scan_window_ms), "--gap-scan-cron", NEVER,
        "--full-reconcile-cron", NEVER, "--verify-cron", NEVER, "--base-url", config.base_url,
    ]  # fmt: skip
    tree = Tree(arguments, folder, RECONCILER_REDIS_URL=url, **recorded_environment(folder, fault))
    try:
        await tree.start(workers=1)
        yield tree
    finally:
        tree.kill_all()


async def test_a_compare_and_set_that_a_worker_process_lacks_is_found(redis_url, tmp_path):
    """The feeder writes between a worker's look and its merge, a second and a half later."""
    history = History()
    async with engine(redis_url, workers=0, patience_s=120, faults=[SLOW], **PASSES) as run:
        stop = await run.parts.clock.now() // MINUTE * MINUTE
        slots = range(stop - 310 * MINUTE, stop, MINUTE)
        there = truth(DENSE, Interval(slots.start, slots.stop))
        await run.put(DENSE, *(candle_of(at, *values) for at, values in there.items()))
        missing, poor = slots[50], slots[51]

        async def write(share: float) -> None:
            """Write one bar as a feeder does that saw a part of it."""
            *prices, volume = there[poor]
            member = member_of(DENSE, candle_of(poor, *prices, volume * share)).encode()

            async def replace() -> None:
                await run.parts.client.zremrangebyscore(run.key(DENSE), poor, poor)
                await run.parts.client.zadd(run.key(DENSE), {member: poor})

            await history.feed(run.key(DENSE), poor, member, replace)

        await run.parts.client.zremrangebyscore(run.key(DENSE), missing, missing)
        await write(0.25)

        def has_asked() -> bool:
            history.join(tmp_path)
            claims = [one for one in history.of("claim.lua", "take") if int(one.args[2]) <= missing < int(one.args[3])]
            return any(claims[0].is_before(one) for one in history.of("token_bucket.lua", "reserve") if claims)

        def has_merged() -> bool:
            history.join(tmp_path)
            return any(one.is_ok and str(poor) in one.args for one in history.of("merge.lua"))

        async with open_tree(run, redis_url, tmp_path, COMPARE_AND_SET_REMOVED):
            await wait_until(has_asked)
            await write(0.75)
            await wait_until(has_merged)
    (fault,) = check_slots(history)
    assert f"at {poor}, and had named" in fault

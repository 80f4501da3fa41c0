"""Two whole engines at work while Redis fails over beneath them, the history of all they ask, and the gate asked."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import trio
from tests.chaos.invariants import budget_excess
from tests.chaos.tree import Tree
from tests.chaos.waiting import wait_until, wait_until_so
from tests.histories.checks import check_all, count_takeovers, minutes_asked
from tests.histories.failing_servers import LAG_S, Loss, Servers
from tests.histories.history import Call, Failover, History, recorded_environment
from tests.histories.recorder import ASK_FOLLOWED, PART_FAILED, End
from tests.integration.engines import DENSE, MINUTE, THIN, Engine, engine, truth

from reconciler_engine import examine
from reconciler_engine.engine.scheduled_passes import GAP_SCAN
from reconciler_engine.errors import StoreError
from reconciler_engine.limiting.permit_steps import Reply
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.simulator.faults.rules import FaultRule

SLOTS: Final = 240
PATIENCE_S: Final = 300.0
PER_S: Final = 20
LATE_S: Final = 0.75
"""A permit may be used 250 ms late, and its answer was noted when a busy machine came to it."""
SERIES: Final = (DENSE, THIN)
TAKEN_OVER: Final = "claim taken over"
UNTAUGHT: Final = "NOSCRIPT in merge.lua"
RAISED: Final = "epoch raised after loss"
SOMETIMES: Final = (TAKEN_OVER, UNTAUGHT, RAISED)
"""A storm fails where it never was in one of these states;"""
IN_A_CLUSTER: Final = (*SOMETIMES, ASK_FOLLOWED, PART_FAILED)
"""one over a cluster in one of these."""
NEVER: Final = "0 0 1 1 *"
# So that pages are under way for a while.
SLOW: Final = FaultRule("slow", "slow_head", path="*/candles", values={"seconds": 0.3})
SETTINGS: Final[dict[str, Any]] = {
    "symbols": "BTC-USD,DASH-USD", "timeframes": "1m", "batch_size": PER_S, "batch_delay_ms": 1_000,
    "quick_scan_window_ms": SLOTS * MINUTE, "gap_scan_cron": "* * * * * *", "full_reconcile_cron": NEVER,
    "verify_cron": NEVER, "gap_scan_max_run_ms": 30_000, "max_candles": 0, "ttl": 0,
}  # fmt: skip


@dataclass
class Storm:
    """A run through failovers, and what was seen in it."""

    run: Engine
    servers: Servers
    trees: Sequence[Tree]
    folder: Path
    history: History = field(default_factory=History)
    random: Random = field(default_factory=lambda: Random(1))
    healed_s: list[float] = field(default_factory=list)
    fences_lost: list[Failover] = field(default_factory=list)
    yes: int = 0
    wrong: list[str] = field(default_factory=list)
    quiet: trio.Lock = field(default_factory=trio.Lock)

    @property
    def fence(self) -> str:
        """Key that holds the epoch of the job whose passes the storm is in."""
        return self.run.parts.scope.fence_key(GAP_SCAN)

    async def watch(self) -> None:
        """Ask the gate all the time; wrong is a yes over a bar that is not there, and a candle of other values."""
        while True:
            async with self.quiet:
                for series in SERIES:
                    try:
                        await self._look(series)
                    except StoreError:
                        self.history.marks["gate unanswered"] += 1
            await trio.sleep(0.2)

    async def _look(self, series: Series) -> None:
        lost = len(self.history.failovers)
        told = await examine(self.run.parts.client, series.symbol, series.timeframe, 60, max_unverified_ms="any")
        held, there = await self.run.held(series, told.window), truth(series, told.window)
        if other := [at for at in held if held[at] != there.get(at)]:
            self.wrong.append(f"{series} holds other candles than the exchange at {other}")
        # A candle that a failover took between the two questions was there at the first.
        if told.is_ready and lost == len(self.history.failovers):
            self.yes += 1
            if lacking := there.keys() - held.keys():
                self.wrong.append(f"{series} ready without {sorted(lacking)}")

    async def damage(self) -> None:
        """Remove candles, so that there is work."""
        for series in SERIES:
            key, began = self.run.key(series), time.monotonic()
            async with self.quiet:
                there = await self.servers.ask(key, "ZRANGE", key, 0, -1, "WITHSCORES")
                pairs = [(member, int(score)) for member, score in there]
                gone = self.random.sample(pairs, min(40, len(pairs)))
                if gone:
                    await self.servers.ask(key, "ZREM", key, *(member for member, _ in gone))
                    self.history.note_removed(key, [at for _, at in gone], began)

    def newest(self, name: str, most: int = 100) -> list[Call]:
        """Return the calls of a script that were noted last, by any process."""
        self.history.join(self.folder)
        return self.history.newest(name, most)

    async def kill_claimant(self) -> None:
        """Kill a worker that has a claim."""
        await self.damage()
        os.kill(await wait_until(self._claimant, patience_s=PATIENCE_S), signal.SIGKILL)

    def _claimant(self) -> int | None:
        holders: dict[tuple[str, str], str] = {}
        for call in self.newest("claim.lua"):
            if call.args[0] == "release":
                holders.pop((call.keys[0], call.args[1]), None)
            elif call.is_ok and call.reply[0] == 1:
                holders[call.keys[0], call.args[1]] = call.process
        workers = set().union(*(tree.workers() for tree in self.trees))
        pids = (int(process.partition("-")[0]) for process in holders.values())
        return next((pid for pid in pids if pid in workers), None)

    async def fail_over(self, key: str, loss: Loss) -> None:
        """Lose the primary of a key just after a pass began; wait until there is work again."""
        holds_fence = await self.servers.are_together(key, self.fence)
        await wait_until(self._has_just_begun, patience_s=PATIENCE_S)
        with self.history.failing_over():
            await self.servers.fail_over(key, loss)
        if holds_fence:
            self.fences_lost.append(self.history.failovers[-1])
        await self.damage()
        await self._wait_work(self.history.failovers[-1].stop)
        await self.servers.heal()

    def _has_just_begun(self) -> bool:
        recent = time.monotonic() - LAG_S / 2
        return any(call.is_ok and call.reply and call.began > recent for call in self._takes(self.newest("lease.lua")))

    def _takes(self, calls: Sequence[Call]) -> list[Call]:
        return [call for call in calls if call.args[0] == "take" and call.keys[1] == self.fence]

    async def _wait_work(self, since: float) -> None:
        """Wait until candles are written in each series that were asked for, and note how long that took."""
        keys = {self.run.key(series) for series in SERIES}

        def written() -> dict[str, float] | None:
            merges = [call for call in self.newest("merge.lua") if call.began > since and call.is_ok]
            done = [call for call in merges if call.reply[0] == "done" and "I" in call.reply[1]]
            first = {call.keys[0]: call.ended for call in reversed(done) if call.keys[0] in keys}
            return first if len(first) == len(keys) else None

        first = await wait_until(written, lambda: f"work in each series, {self.history.failovers[-1]}", PATIENCE_S)
        self.healed_s.append(max(first.values()) - since)

    async def settle(self) -> None:
        """Wait until the cache is the truth."""

        async def is_whole() -> bool:
            with suppress(StoreError):
                stop = await self.run.parts.clock.now() // MINUTE * MINUTE - 2 * MINUTE
                window = Interval(stop - (SLOTS - 5) * MINUTE, stop)
                return all([await self.run.held(series, window) == truth(series, window) for series in SERIES])
            return False

        await wait_until_so(is_whole, PATIENCE_S, 0.2)

    def note_marks(self) -> None:
        """Count how often it was in rare states that the whole history shows."""
        marks, calls = self.history.marks, self.history.of
        marks[TAKEN_OVER] = count_takeovers(self.history)
        marks[RAISED] = sum(map(self._was_raised, self.fences_lost))
        marks["permit void"] = sum(
            call.is_ok and call.reply[0] == Reply.REFUSED for call in calls("token_bucket.lua", "confirm")
        )
        marks["claim waited for"] = sum(call.is_ok and call.reply[0] == 0 for call in calls("claim.lua"))
        marks["answer lost"] = sum(call.end is End.UNKNOWN for call in self.history.calls)

    def _was_raised(self, lost: Failover) -> bool:
        """Whether an epoch that had not come to the replica yet was raised by the next taking."""
        takes = [call for call in self._takes([*self.history.of("lease.lua")]) if call.is_ok and call.reply]
        gone = [call for call in takes if lost.start - LAG_S < call.began and call.ended < lost.start]
        after = [call for call in takes if call.began > lost.start]
        return bool(gone and after and after[0].reply[0] > gone[-1].reply[0])

    def lacking(self, sometimes: Sequence[str]) -> list[str]:
        """Return those of some rare states in which it never was."""
        self.history.join(self.folder)
        self.note_marks()
        return [mark for mark in sometimes if not self.history.marks[mark]]

    def check(self, sometimes: Sequence[str]) -> str:
        """Check all that was seen, and that it was in each of some rare states; return the figures."""
        failovers, lacking = len(self.history.failovers), self.lacking(sometimes)
        requests, marks = minutes_asked(self.run.exchange.log), self.history.marks
        faults = [*check_all(self.history, requests, per_s=PER_S, late_s=LATE_S), *self.wrong]
        faults += [f"never reached: {mark}" for mark in lacking]
        times_s = [one.time_ms / 1_000 for one in self.run.exchange.log.records]
        if (excess := budget_excess(times_s, PER_S, LATE_S)) > 1:
            faults.append(f"{excess:.1f} requests beyond the budget in a window")
        if faults or len(self.healed_s) != failovers:
            raise AssertionError("\n".join([*faults, f"healed {len(self.healed_s)} times, {dict(marks)}"]))
        return (
            f"{failovers} failovers: work {median(self.healed_s):.2f} s after a reachable primary (median), "
            f"{max(self.healed_s):.2f} s at most; {len(self.history.calls)} calls of "
            f"{len({call.process for call in self.history.calls}) - 1} processes, {len(requests)} requests, "
            f"{self.yes} times ready; reached {dict(sorted(marks.items()))}"
        )


@asynccontextmanager
async def open_storm(servers: Servers, folder: Path, patience_s: float) -> AsyncIterator[Storm]:
    """Run two engines at work, the history of all they ask, and somebody who asks the gate."""
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(
            engine(
                servers.url,
                workers=0,
                patience_s=patience_s,
                faults=[SLOW],
                **{**SETTINGS, "symbols": ["BTC-USD", "DASH-USD"], "timeframes": ["1m"]},
            )
        )
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        notes = folder / "notes"
        notes.mkdir()
        settings = {f"RECONCILER_{name.upper()}": str(value) for name, value in SETTINGS.items()}
        settings |= {"RECONCILER_BASE_URL": run.parts.config.base_url, "RECONCILER_REDIS_URL": servers.url}
        trees = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            arguments = ["--workers", "1", "--listen", "off"]
            trees.append(Tree(arguments, folder / name, **settings, **recorded_environment(notes)))
            stack.callback(trees[-1].kill_all)
            nursery.start_soon(trees[-1].start, 1)
        storm = Storm(run, servers, trees, notes)
        await storm.settle()
        nursery.start_soon(storm.watch)
        yield storm
        nursery.cancel_scope.cancel()

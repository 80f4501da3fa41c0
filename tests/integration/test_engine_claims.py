"""Several jobs at once over the same holes: the exchange is asked for no slot twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.engines import DENSE, MINUTE, T0, THIN, Engine, engine, span, truth, with_volume

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.tasks.messages import PageTask, intervals_of
from reconciler_engine.engine.tasks.page_cache import PageCache, PageLook
from reconciler_engine.errors import StoreUnavailable
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.store.claims import Claims
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.task_streams import Lane

pytestmark = pytest.mark.contract(cluster_by_mark=True)

SLOW = FaultRule("slow", "slow_head", values={"seconds": 0.05})
"""Answers take a while, so that jobs meet."""


def known(slots: Sequence[int]) -> list[Candle]:
    return [with_volume(slot) for slot in slots]


async def run_at_once(run: Engine, requests: Sequence[PassRequest]) -> list[ReconciliationResult]:
    results: list[ReconciliationResult] = []

    async def perform(request: PassRequest) -> None:
        results.append(await run.parts.reconciler.run_pass(request))

    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(perform, request)
    return results


def jobs() -> list[PassRequest]:
    """A gap scan of the newest slots and a full pass, as both would be due in one minute."""
    return [
        PassRequest("gap_scan", [DENSE, THIN], span(120, 600), lane=Lane.LIVE),
        PassRequest("full_reconcile", [DENSE, THIN], span(720), lane=Lane.DEEP),
    ]


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_gap_scan_and_a_full_pass_ask_for_no_slot_twice(redis_url, workers):
    async with engine(redis_url, workers=workers, faults=[SLOW]) as run:
        results = await run_at_once(run, jobs())
        for series in (DENSE, THIN):
            assert await run.held(series) == truth(series, span(720))
        absent = 720 - len(truth(THIN, span(720)))
        full = next(one for one in results if one.series[0].expected == 720)
        # answers to the other job count here too
        assert (full.unresolved + full.confirmed_empty, full.errors) == (absent, ())
        scanned = next(one for one in results if one.series[0].expected == 120)
        assert scanned.unresolved + scanned.confirmed_empty == 120 - len(truth(THIN, span(120, 600)))
        assert sum(one.requests for one in results) == len(run.asked()) <= 2 * 4


async def test_what_was_answered_is_not_asked_for_again(redis_url):
    async with engine(redis_url) as run:
        quick, full = jobs()
        await run.parts.reconciler.run_pass(full)
        asked = len(run.asked())
        for request in (quick, full):
            again = await run.parts.reconciler.run_pass(request)
            length = again.series[0].expected
            absent = length - len(truth(THIN, span(length, 720 - length)))
            assert (again.requests, again.unresolved + again.confirmed_empty) == (0, absent)
        assert len(run.asked()) == asked


@pytest.mark.usefixtures("short_retries")
async def test_what_the_exchange_could_not_answer_is_not_remembered(redis_url):
    broken = FaultRule("broken", "status", values={"status": 500, "body": "json"}, count=4)
    async with engine(redis_url, faults=[broken]) as run:
        request = PassRequest("gap_scan", [DENSE], span(100))
        failed = await run.parts.reconciler.run_pass(request)
        assert (failed.unresolved, failed.requests) == (100, 4)
        done = await run.parts.reconciler.run_pass(request)
        assert (done.unresolved, done.requests) == (0, 1)


async def test_the_claim_of_a_run_that_is_no_more_holds_nobody_up(redis_url):
    async with engine(redis_url) as run:
        claims = Claims(run.parts.client, run.parts.scope)
        await claims.take(DENSE, span(100), "full_reconcile-1-dead/page-0")
        done = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], span(100)))
        assert (done.filled, done.requests) == (100, 1)


async def test_the_claim_of_a_finished_task_holds_nobody_up(redis_url):
    """A failover brings it back: that it was given up had not reached the replica."""
    async with engine(redis_url) as run:
        other = await run.parts.queue.open_run("full_reconcile", 0)
        await Claims(run.parts.client, run.parts.scope).take(DENSE, span(100), f"{other}/page-0")
        with trio.fail_after(30):
            done = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], span(100)))
        assert (done.filled, done.requests) == (100, 1)


async def test_a_claim_is_released_once_redis_is_back(redis_url, monkeypatch):
    release, asked = Claims.release, []

    async def be_away_once(claims, *claim):
        asked.append(claim)
        if len(asked) == 1:
            raise StoreUnavailable("away")
        await release(claims, *claim)

    monkeypatch.setattr(Claims, "release", be_away_once)
    async with engine(redis_url) as run:
        done = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], span(100)))
        assert (done.filled, done.requests, done.errors) == (100, 1, ())
        assert await Claims(run.parts.client, run.parts.scope).take(DENSE, span(100), "another/page-0") is None


async def test_a_page_waits_for_the_one_who_asks_and_takes_what_came(redis_url):
    async with engine(redis_url, audit_policy="report") as run:
        claims = Claims(run.parts.client, run.parts.scope)
        other = await run.parts.queue.open_run("other", 0)
        await run.parts.client.sadd(run.parts.scope.key(f"run:{other}:unfinished"), "page-0")
        await claims.take(DENSE, span(50, 20), f"{other}/page-0")
        results: list[ReconciliationResult] = []

        async def scan() -> None:
            results.append(await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], span(100))))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(scan)
            while not await run.parts.client.xlen(run.parts.scope.key("tasks:deep")):
                await trio.lowlevel.checkpoint()
            # it waits: a page of another series passes it
            await run.parts.reconciler.run_pass(PassRequest("gap_scan", [THIN], span(10)))
            assert run.asked(DENSE) == []
            await run.put(DENSE, *known(range(20, 70)))
            await claims.release(DENSE, span(50, 20), f"{other}/page-0")
        (done,) = results
        assert (done.filled, done.unresolved) == (100, 0)
        assert len(run.asked(DENSE)) == 1
        held = await run.held(DENSE)
        assert held[T0 + 20 * MINUTE][4] == 1.0


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    present=st.sets(st.integers(0, 719)),
    windows=st.lists(st.integers(1, 720), min_size=2, max_size=4),
    workers=st.integers(1, 2),
)
def test_whatever_the_holes_and_windows_no_slot_is_the_reason_for_two_requests(redis_server, present, windows, workers):
    """Neighbours may be in two pages, what a page is asked for in no other."""
    asked_for: list[int] = []
    look = PageCache.look

    async def look_and_note(cache: PageCache, task: PageTask) -> PageLook:
        found = await look(cache, task)
        wanted = found.slots.due & intervals_of(task.gaps, MINUTE)
        asked_for.extend(at for one in wanted for at in one.grid(MINUTE))
        return found

    async def check() -> None:
        async with TrioRedis.from_url(redis_server.url) as client:
            await client.flushall()
        async with engine(redis_server.url, workers=workers, faults=[SLOW]) as run:
            there = truth(THIN, span(720))
            present_at = {T0 + slot * MINUTE for slot in present} & there.keys()
            for at in sorted(present_at):
                open_, high, low, close, volume = there[at]
                await run.put(THIN, Candle(at, open_, high, low, close, volume))
            spans = [span(count, 720 - count) for count in windows]
            await run_at_once(
                run,
                [
                    PassRequest(f"job-{n}", [THIN], one, lane=(Lane.LIVE, Lane.DEEP)[n % 2])
                    for n, one in enumerate(spans)
                ],
            )
            wanted = {at for one in spans for at in one.grid(MINUTE)} - present_at
            assert sorted(asked_for) == sorted(wanted)
            assert {at for page in run.asked() for at in page.grid(MINUTE)} >= wanted
            held = await run.held(THIN)
            assert {at for at in wanted if at in held} == {at for at in wanted if at in there}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageCache, "look", look_and_note)
        trio.run(check)

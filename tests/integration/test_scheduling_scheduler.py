"""The scheduler's loop, runs and guard on a virtual clock."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from tests.integration.scheduled_jobs import BASE, Recorder, job

from reconciler_engine.scheduling.cron import CronError
from reconciler_engine.scheduling.events import Event, Outcome, RunFinished, RunStarted, SlotSkipped, SlotsMissed
from reconciler_engine.scheduling.scheduler import Scheduler
from reconciler_engine.scheduling.ticks import Missed, Tick, TickReason

MINUTE = 60_000
HOUR = 60 * MINUTE
pytestmark = pytest.mark.usefixtures("autojump_clock")


class WallClock:
    """A wall clock that goes with trio's, and can be set."""

    def __init__(self) -> None:
        self.offset = BASE - round(trio.current_time() * 1_000)
        self.readings = 0

    def __call__(self) -> int:
        self.readings += 1
        return self.offset + round(trio.current_time() * 1_000)


async def hanging(_: Tick) -> None:
    await trio.sleep_forever()


async def lasting(seconds: float, _: Tick) -> None:
    await trio.sleep(seconds)


async def run_for(scheduler: Scheduler, seconds: float) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        await trio.sleep(seconds)
        scheduler.stop()


async def test_runs_each_slot_with_its_name() -> None:
    ticks = []

    async def run(tick: Tick) -> None:
        ticks.append((tick, trio.current_time()))

    begin = trio.current_time()
    scheduler = Scheduler([job("scan", "*/5 * * * *", run)], now=WallClock())
    await run_for(scheduler, 901)
    assert [tick for tick, _ in ticks] == [Tick("scan", BASE + 5 * MINUTE * n) for n in (1, 2, 3)]
    assert [at - begin for _, at in ticks] == pytest.approx([300, 600, 900])
    figures = scheduler.statistics()["scan"]
    assert (figures.runs, figures.skipped, figures.missed, figures.failed) == (3, 0, 0, 0)
    assert figures.next_slot == BASE + 20 * MINUTE


async def test_another_schedule_counts_from_the_change_on() -> None:
    recorder, slow, quick = Recorder(), "*/5 * * * *", "* * * * * *"
    scheduler = Scheduler([job("scan", slow), job("deep", slow)], now=WallClock())
    scheduler.subscribe(recorder)
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        await trio.sleep(310.5)
        scheduler.reschedule([job("deep", slow), job("scan", quick)])
        await trio.sleep(2)
        scheduler.stop()
    started = [(event.tick.job, event.tick.slot - BASE) for event in recorder.of(RunStarted)]
    assert sorted(started) == [("deep", 300_000), ("scan", 300_000), ("scan", 311_000), ("scan", 312_000)]
    assert recorder.of(SlotsMissed) == []
    with pytest.raises(ValueError, match="jobs other; allowed: scan, deep"):
        scheduler.reschedule([job("other", slow)])


async def test_reads_the_clock_once_a_decision_and_at_least_every_30_s() -> None:
    clock = WallClock()
    await run_for(Scheduler([job("scan", "0 0 1 1 *")], now=clock), 599)
    # One to begin with, one for the first decision, then one every 30 s.
    assert clock.readings == 2 + 19


async def test_a_held_guard_skips_and_never_queues() -> None:
    recorder = Recorder()
    scheduler = Scheduler([job("scan", "*/5 * * * *", partial(lasting, 660))], now=WallClock())
    scheduler.subscribe(recorder)
    await run_for(scheduler, 20 * 60 + 1)
    started = [event.tick.slot - BASE for event in recorder.of(RunStarted)]
    assert started == [5 * MINUTE, 20 * MINUTE]
    assert [event.tick.slot - BASE for event in recorder.of(SlotSkipped)] == [10 * MINUTE, 15 * MINUTE]


async def test_a_hung_run_is_timed_out_and_frees_the_guard() -> None:
    recorder = Recorder()
    scheduler = Scheduler([job("scan", "*/5 * * * *", hanging, max_run=7 * MINUTE)], now=WallClock())
    scheduler.subscribe(recorder)
    await run_for(scheduler, 16 * 60)
    first, second = recorder.of(RunFinished)
    assert (first.outcome, first.duration_ms, first.error) == (
        Outcome.TIMED_OUT,
        7 * MINUTE,
        "timed out after 7 m 0 s",
    )
    # The guard was held at minute 10 and free again at 15.
    assert (second.tick.slot, second.outcome) == (BASE + 15 * MINUTE, Outcome.TIMED_OUT)


async def test_a_failing_job_ends_neither_the_scheduler_nor_another_job(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(tick: Tick) -> None:
        await trio.sleep(1)
        raise OSError(f"slot {tick.slot}")

    scheduler = Scheduler([job("bad", "*/5 * * * *", fail), job("good", "*/5 * * * *")], now=WallClock())
    with caplog.at_level(logging.ERROR, "reconciler_engine.scheduling.runs"):
        await run_for(scheduler, 601)
    bad, good = scheduler.statistics()["bad"], scheduler.statistics()["good"]
    assert (bad.runs, bad.failed, bad.timed_out) == (2, 2, 0)
    assert bad.last_error == f"OSError: slot {BASE + 10 * MINUTE}"
    assert bad.last_duration_ms == 1_000
    assert (good.runs, good.failed, good.last_error) == (2, 0, None)
    assert [(record.message, record.__dict__["slot"]) for record in caplog.records] == [
        ("run over", BASE + 5 * MINUTE),
        ("run over", BASE + 10 * MINUTE),
    ]
    assert all(record.exc_info for record in caplog.records)


async def test_a_group_of_errors_is_one_failure() -> None:
    async def fail(_: Tick) -> None:
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])

    scheduler = Scheduler([job("bad", "*/5 * * * *", fail)], now=WallClock())
    await run_for(scheduler, 301)
    assert scheduler.statistics()["bad"].failed == 1
    assert scheduler.statistics()["bad"].last_error == "ExceptionGroup: both (2 sub-exceptions)"


async def test_a_run_that_fails_while_timing_out_is_timed_out() -> None:
    async def stubborn(_: Tick) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("cleanup failed")

    scheduler = Scheduler([job("bad", "*/5 * * * *", stubborn, max_run=MINUTE)], now=WallClock())
    await run_for(scheduler, 400)
    figures = scheduler.statistics()["bad"]
    assert (figures.timed_out, figures.failed, figures.last_error) == (1, 0, "RuntimeError: cleanup failed")


async def test_a_step_forward_is_a_backlog_of_one_run() -> None:
    clock, recorder = WallClock(), Recorder()
    scheduler = Scheduler([job("scan", "*/5 * * * *")], now=clock)
    scheduler.subscribe(recorder)
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        await trio.sleep(60)
        clock.offset += HOUR
        await trio.sleep(60)
        scheduler.stop()
    (started,) = recorder.of(RunStarted)
    assert started.tick == Tick("scan", BASE + HOUR, TickReason.COALESCED)
    assert recorder.of(SlotsMissed) == [SlotsMissed("scan", Missed(BASE + 5 * MINUTE, BASE + 55 * MINUTE, 11), era=0)]


async def test_slots_before_the_start_are_missed_when_asked_for() -> None:
    clock = WallClock()
    scheduler = Scheduler([job("scan", "*/5 * * * *")], now=clock, decided_until=BASE - HOUR)
    await run_for(scheduler, 1)
    figures = scheduler.statistics()["scan"]
    assert (figures.runs, figures.missed) == (1, 11)


async def test_jitter_waits_inside_the_guard_and_keeps_the_slots_name() -> None:
    recorder, starts = Recorder(), []

    async def run(tick: Tick) -> None:
        starts.append(round(trio.current_time() * 1_000) + clock.offset - tick.slot)

    clock = WallClock()
    scheduler = Scheduler([job("scan", "*/5 * * * *", run, jitter=HOUR)], now=clock)
    scheduler.subscribe(recorder)
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        await trio.sleep(300.5)
        assert scheduler.statistics()["scan"].is_running
        await trio.sleep(600)
        scheduler.stop()
    assert [event.tick.slot for event in recorder.of(RunStarted)] == [BASE + 5 * MINUTE, BASE + 10 * MINUTE]
    assert starts[0] == starts[1]
    assert 0 < starts[0] < 150_000
    # The third was still waiting when the scheduler stopped.
    assert scheduler.statistics()["scan"].missed == 1


async def test_stopping_lets_runs_finish() -> None:
    recorder = Recorder()
    scheduler = Scheduler([job("scan", "*/5 * * * *", partial(lasting, 250))], now=WallClock())
    scheduler.subscribe(recorder)
    begin = trio.current_time()
    await run_for(scheduler, 310)
    assert trio.current_time() - begin == pytest.approx(550)
    (finished,) = recorder.of(RunFinished)
    assert finished.outcome is Outcome.DONE


async def test_cancelling_cancels_the_runs() -> None:
    recorder = Recorder()
    scheduler = Scheduler([job("scan", "*/5 * * * *", partial(lasting, 250))], now=WallClock())
    scheduler.subscribe(recorder)
    with trio.move_on_after(310):
        await scheduler.run()
    (finished,) = recorder.of(RunFinished)
    assert finished.outcome is Outcome.CANCELLED
    assert not scheduler.statistics()["scan"].is_running


async def test_trigger_goes_through_the_guard() -> None:
    recorder = Recorder()
    scheduler = Scheduler([job("scan", "*/5 * * * *", partial(lasting, 400), jitter=MINUTE)], now=WallClock())
    scheduler.subscribe(recorder)
    with pytest.raises(RuntimeError, match="not running"):
        scheduler.trigger_now("scan")
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        with pytest.raises(KeyError):
            scheduler.trigger_now("other")
        scheduler.trigger_now("scan")
        scheduler.trigger_now("scan")
        await trio.sleep(350)
        scheduler.stop()
        with pytest.raises(RuntimeError, match="not running"):
            scheduler.trigger_now("scan")
    assert recorder.of(RunStarted) == [RunStarted(Tick("scan", BASE, TickReason.TRIGGER))]
    assert [event.tick.reason for event in recorder.of(SlotSkipped)] == [TickReason.TRIGGER, TickReason.SLOT]


async def test_a_run_open_elsewhere_skips() -> None:
    answers = iter([False, True, OSError("store is away"), None])
    asked, recorder = [], Recorder()

    @asynccontextmanager
    async def claim(tick: Tick) -> AsyncIterator[bool]:
        await trio.lowlevel.checkpoint()
        asked.append(tick.slot - BASE)
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        if answer is None:
            await trio.sleep_forever()
        yield bool(answer)

    scheduler = Scheduler([job("scan", "*/5 * * * *")], now=WallClock(), claim=claim)
    scheduler.subscribe(recorder)
    await run_for(scheduler, 20 * 60 + 1)
    assert asked == [5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 20 * MINUTE]
    assert [event.tick.slot - BASE for event in recorder.of(RunStarted)] == [10 * MINUTE]
    assert [event.error for event in recorder.of(SlotSkipped)] == [None, "OSError: store is away", "TooSlowError: "]
    assert not scheduler.statistics()["scan"].is_running


async def test_an_observer_that_raises_is_logged_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Event) -> None:
        raise ValueError("observer")

    recorder = Recorder()
    scheduler = Scheduler([job("scan", "*/5 * * * *")], now=WallClock())
    scheduler.subscribe(fail)
    unsubscribe = scheduler.subscribe(recorder)
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        await trio.sleep(301)
        unsubscribe()
        await trio.sleep(300)
        scheduler.stop()
    assert [type(event) for event in recorder.events] == [RunStarted, RunFinished]
    assert scheduler.statistics()["scan"].runs == 2
    assert sum("observer" in record.message for record in caplog.records) == 4


def test_a_job_that_can_never_fire_is_refused() -> None:
    with pytest.raises(CronError, match=r"'0 0 30 2 \*' refused: .*never fires"):
        job("scan", "0 0 30 2 *")


def test_every_fault_of_a_job_at_once() -> None:
    with pytest.raises(ValueError, match="misfire_grace -1 is negative") as caught:
        job("", "* * * * *", misfire_grace=-1, max_run=0, jitter=-5)
    for fault in ("name '' is empty", "max_run 0 is not positive", "jitter -5 is negative"):
        assert fault in str(caught.value)


def test_job_names_must_differ() -> None:
    with pytest.raises(ValueError, match="job names must differ, got scan, scan"):
        Scheduler([job("scan", "* * * * *"), job("scan", "* * * * *")], now=lambda: 0)


def test_bounds_follow_the_interval_of_the_slot() -> None:
    five = job("scan", "*/5 * * * *", jitter=HOUR)
    assert five.run_limit(Tick("scan", BASE)) == 15 * MINUTE
    assert five.run_limit(Tick("scan", BASE + 1, TickReason.TRIGGER)) == 15 * MINUTE
    assert job("scan", "*/5 * * * *", max_run=MINUTE).run_limit(Tick("scan", BASE)) == MINUTE
    delays = {job(f"scan {n}", "*/5 * * * *", jitter=HOUR).delay(Tick("scan", BASE)) for n in range(50)}
    assert len(delays) > 40
    assert all(0 <= delay < 150_000 for delay in delays)
    assert five.delay(Tick("scan", BASE)) == five.delay(Tick("scan", BASE + 5 * MINUTE))
    assert job("scan", "*/5 * * * *").delay(Tick("scan", BASE)) == 0

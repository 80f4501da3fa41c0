"""The breaker, by example: what opens it, what it lets through, what closes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from tests.limiter_model.breaker import begin_probe, report
from tests.limiter_model.memory_bucket import MemoryBucket
from tests.limiter_model.token_bucket import Bucket, reserve, share_ppm, slow_down

from reconciler_engine.engine.permitted_request import send
from reconciler_engine.errors import IdentityStopped, PermitRefused, SourceUnavailable
from reconciler_engine.limiting.breaker import DENIALS, GONE, SILENCES, Breaker, Fate
from reconciler_engine.limiting.budget import WHOLE_PPM, Budget
from reconciler_engine.limiting.permit_steps import Permit
from reconciler_engine.limiting.redis_bucket import TokenBucket

NOW = 1_764_000_000_000_000
SECOND = 1_000_000
FIVE = Budget(burst=5, period_ms=1000)


def after(*answers: Fate, breaker: Breaker | None = None) -> Breaker:
    """The breaker after these answers, each to a request of its own."""
    breaker = breaker or Breaker()
    for number, answer in enumerate(answers):
        breaker, _ = report(breaker, NOW + number, breaker.turn, answer, 0)
    return breaker


@pytest.mark.parametrize(
    ("answers", "alone", "gone", "stopped"),
    [
        ([], False, False, False),
        ([Fate.SILENT] * (SILENCES - 1), False, False, False),
        ([Fate.SILENT] * SILENCES, True, False, False),
        ([Fate.SILENT] * GONE, True, True, False),
        (
            [Fate.SILENT, Fate.SILENT, Fate.SERVED, Fate.SILENT],
            False,
            False,
            False,
        ),
        ([Fate.SILENT] * GONE + [Fate.SERVED], False, False, False),
        ([Fate.BLOCKED], True, False, False),
        ([Fate.BLOCKED, Fate.THROTTLED], True, False, False),
        ([Fate.BLOCKED, Fate.UNCLEAR], True, False, False),
        ([Fate.BLOCKED, Fate.SERVED], False, False, False),
        ([Fate.THROTTLED] * 9, False, False, False),
        ([Fate.DENIED] * (DENIALS - 1), True, False, False),
        ([Fate.DENIED] * DENIALS, True, False, True),
        (
            [
                Fate.DENIED,
                Fate.SILENT,
                Fate.DENIED,
                Fate.THROTTLED,
                Fate.DENIED,
            ],
            True,
            False,
            False,
        ),
        (
            [
                Fate.DENIED,
                Fate.DENIED,
                Fate.SERVED,
                Fate.DENIED,
                Fate.DENIED,
            ],
            True,
            False,
            False,
        ),
    ],
)
def test_what_answers_in_a_row_make_of_it(answers, alone, gone, stopped):
    breaker = after(*answers)
    assert (breaker.is_alone, breaker.is_gone, breaker.stopped > NOW) == (alone, gone, stopped)


@pytest.mark.parametrize("answer", [Fate.DENIED, Fate.BLOCKED, Fate.THROTTLED])
def test_of_requests_under_way_at_the_same_time_one_counts(answer):
    breaker = Breaker()
    counts = []
    for _ in range(10):
        breaker, count = report(breaker, NOW, 0, answer, 0)
        counts.append(count)
    assert counts == [1] + [0] * 9
    assert getattr(breaker, answer) == 1


def test_what_was_sent_before_the_trouble_does_not_end_it():
    breaker = after(Fate.BLOCKED)
    assert report(breaker, NOW, 0, Fate.SERVED, 200) == (breaker, 0)
    probing = begin_probe(breaker, NOW, NOW)
    assert report(probing, NOW, breaker.turn, Fate.SERVED, 200) == (probing, 0)
    assert not report(probing, NOW, probing.turn, Fate.SERVED, 200)[0].is_alone


def test_a_breaker_that_was_lost_names_no_turn_twice():
    turns = set()
    for lost in range(5):
        breaker = Breaker()
        for number in range(5):
            breaker, _ = report(breaker, NOW + 10 * lost + number, breaker.turn, Fate.BLOCKED, 403)
            turns.add(breaker.turn)
    assert len(turns) == 25


def share_after(bucket: Bucket, seconds: float) -> float:
    return share_ppm(replace(bucket, seen=bucket.seen + round(seconds * SECOND))) / WHOLE_PPM


def test_each_refusal_halves_the_rate_to_a_sixteenth_at_most():
    bucket = Bucket.empty(NOW, FIVE.limits)
    shares = []
    for _ in range(6):
        bucket = slow_down(bucket, 429)
        shares.append(share_after(bucket, 0))
    assert shares == [0.5, 0.25, 0.125, 0.0625, 0.0625, 0.0625]
    assert [share_after(bucket, seconds) for seconds in (10, 50, 93.75, 1_000)] == [0.1625, 0.5625, 1, 1]


def test_a_slower_bucket_lies_further_apart():
    bucket = slow_down(Bucket.empty(NOW, FIVE.limits), 429)
    slots = []
    for _ in range(3):
        bucket, taken = reserve(bucket, NOW, FIVE.limits, 60 * SECOND)
        slots.append(taken.wait_us)
    assert slots == [200_000, 600_000, 1_000_000]


def redis_clock_us() -> int:
    return NOW + round(trio.current_time() * SECOND)


@pytest.fixture
def bucket() -> TokenBucket:
    return TokenBucket(MemoryBucket(redis_clock_us), "bucket", FIVE)


async def trouble(bucket: TokenBucket, answer: Fate, times: int) -> None:
    for _ in range(times):
        await bucket.converse(bucket.steps.report(await bucket.wait_permit(), answer))


@pytest.mark.usefixtures("autojump_clock")
async def test_a_stopped_identity_takes_no_permit_from_anybody(bucket):
    await trouble(bucket, Fate.DENIED, DENIALS)
    granted = (await bucket.statistics()).granted
    began = trio.current_time()
    for _ in range(10):
        with pytest.raises(IdentityStopped, match="usual causes"):
            await bucket.wait_permit()
    assert trio.current_time() == began
    statistics = await bucket.statistics()
    assert (statistics.granted, statistics.state) == (granted, "stopped")


@pytest.mark.usefixtures("autojump_clock")
async def test_a_stopped_identity_is_tried_again_after_an_hour_or_when_somebody_says_so(bucket):
    await trouble(bucket, Fate.DENIED, DENIALS)
    await bucket.forgive()
    await trouble(bucket, Fate.DENIED, DENIALS)
    with pytest.raises(IdentityStopped) as stopped:
        await bucket.wait_permit()
    await trio.sleep(stopped.value.left_ms / 1_000)
    noted = await bucket.converse(bucket.steps.report(await bucket.wait_permit(), Fate.DENIED))
    # one token an hour
    assert noted.stopped_ms == 3_600_000


@pytest.mark.usefixtures("autojump_clock")
async def test_after_a_block_one_at_a_time_asks_until_one_is_served(bucket):
    await trouble(bucket, Fate.BLOCKED, 1)
    answers = [Fate.UNCLEAR, Fate.THROTTLED, Fate.UNCLEAR] + [Fate.SERVED] * 9
    asking = 0
    at_once: list[int] = []

    async def ask() -> None:
        nonlocal asking
        permit = await bucket.wait_permit()
        asking += 1
        at_once.append(asking)
        await trio.sleep(3)
        asking -= 1
        await bucket.converse(bucket.steps.report(permit, answers.pop(0)))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
    # three in vain and the one that was served, each alone; then everybody else together
    assert at_once == [1, 1, 1, 1, 1, 2, 3, 4]
    assert (await bucket.statistics()).state == "closed"


@pytest.mark.usefixtures("autojump_clock")
async def test_those_who_wait_for_a_slot_when_trouble_comes_wait_on(bucket):
    first = await bucket.wait_permit()
    granted: list[Permit] = []

    async def wait() -> None:
        granted.append(await bucket.wait_permit())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await bucket.converse(bucket.steps.report(first, Fate.BLOCKED))
        with trio.move_on_after(10):
            await trio.sleep_forever()
        assert len(granted) == 1
        await bucket.converse(bucket.steps.report(granted[0], Fate.SERVED))


@pytest.mark.usefixtures("autojump_clock")
async def test_a_probe_whose_process_died_gives_way(bucket):
    await trouble(bucket, Fate.BLOCKED, 1)
    await bucket.wait_permit()
    began = trio.current_time()
    await bucket.wait_permit(60)
    assert 29 <= trio.current_time() - began <= 31


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("cancelled_s", [1, 3], ids=["waiting", "asking"])
async def test_a_probe_that_is_cancelled_holds_nobody_up(bucket, cancelled_s):
    await trouble(bucket, Fate.BLOCKED, 1)
    await bucket.converse(bucket.steps.push_back(2_000))
    began = trio.current_time()
    with trio.move_on_after(cancelled_s) as given_up:
        permit = await bucket.wait_permit()
        await send(bucket, permit, trio.sleep_forever)
    assert given_up.cancelled_caught
    await bucket.wait_permit()
    assert trio.current_time() - began < 7


@pytest.mark.usefixtures("autojump_clock")
async def test_a_probe_that_came_too_late_to_be_used_holds_nobody_up():
    memory, late_s = MemoryBucket(redis_clock_us), [0.0]

    async def slow(**question) -> list[int]:
        reply = await memory(**question)
        await trio.sleep(late_s[0])
        return reply

    bucket = TokenBucket(slow, "bucket", FIVE)
    await trouble(bucket, Fate.SILENT, SILENCES)
    began, late_s[0] = trio.current_time(), 0.3
    with pytest.raises(PermitRefused):
        await bucket.wait_permit(1)
    late_s[0] = 0.0
    unused = await bucket.wait_permit()
    await bucket.give_back(unused)
    assert (await bucket.wait_permit()).turn > unused.turn
    assert trio.current_time() - began < 3


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("answer", [Fate.SILENT, Fate.SERVED])
async def test_who_saw_a_gone_exchange_fail_again_waits_no_longer(bucket, answer):
    await trouble(bucket, Fate.SILENT, GONE)
    await bucket.converse(bucket.steps.push_back(8_000))
    began = trio.current_time()
    ended: list[Permit | str] = []

    async def wait() -> None:
        try:
            permit = await bucket.wait_permit()
        except SourceUnavailable as error:
            ended.append(str(error))
        else:
            await trio.sleep(1)
            ended.append(permit)
            await bucket.converse(bucket.steps.report(permit, answer))
            if answer is Fate.SILENT:
                await bucket.converse(bucket.steps.push_back(8_000))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(wait)
    probes = [one for one in ended if isinstance(one, Permit)]
    assert len(probes) == (1 if answer is Fate.SILENT else 6)
    assert {one for one in ended if isinstance(one, str)} <= {"exchange unavailable: no answer to the last requests"}
    assert trio.current_time() - began < 12

"""The budget of a process without a Redis: a second before each request, and the exchange's pauses."""

from __future__ import annotations

import pytest
import trio

from reconciler_engine.errors import IdentityStopped, PermitRefused
from reconciler_engine.limiting.breaker import DENIALS, Fate
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.plain_pause import PlainPause
from reconciler_engine.limiting.redis_bucket import TokenBucket


@pytest.fixture
def bucket() -> TokenBucket:
    return TokenBucket(PlainPause(), "doctor", Budget(1, 1_000))


@pytest.mark.usefixtures("autojump_clock")
async def test_permits_are_a_second_apart(bucket):
    began = trio.current_time()
    for _ in range(3):
        assert (await bucket.wait_permit()).is_valid()
    assert trio.current_time() - began == pytest.approx(3)


@pytest.mark.usefixtures("autojump_clock")
async def test_a_pause_is_kept_or_refused(bucket):
    began = trio.current_time()
    await bucket.converse(bucket.steps.push_back(10_000))
    with pytest.raises(PermitRefused):
        await bucket.wait_permit(5)
    await bucket.wait_permit()
    assert trio.current_time() - began == pytest.approx(10)


@pytest.mark.usefixtures("autojump_clock")
async def test_a_key_refused_four_times_stops(bucket):
    for _ in range(DENIALS):
        await bucket.converse(bucket.steps.report(await bucket.wait_permit(), Fate.DENIED, 401))
    with pytest.raises(IdentityStopped):
        await bucket.wait_permit()


@pytest.mark.usefixtures("autojump_clock")
async def test_an_answer_forgets_refusals_before_it(bucket):
    for outcome in (*[Fate.DENIED] * (DENIALS - 1), Fate.SERVED, Fate.DENIED):
        await bucket.converse(bucket.steps.report(await bucket.wait_permit(), outcome, 401))
    assert (await bucket.wait_permit()).is_valid()

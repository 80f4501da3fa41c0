"""Waits stay inside their bounds for every answer of a server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.errors import RateLimited
from reconciler_engine.planning.backoff import (
    BLOCKED,
    RETRY_AFTER_LIMIT_MS,
    THROTTLED,
    Backoff,
    push_back_ms,
    retry_after_ms,
)

DRAWS = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 10**4), DRAWS)
def test_delay_is_below_its_ceiling_and_the_cap(base: int, more: int, failures: int, draw: float) -> None:
    backoff = Backoff(base, base + more)
    assert 0 <= backoff.delay_ms(failures, draw) <= backoff.ceiling_ms(failures) <= base + more
    assert backoff.ceiling_ms(failures) <= backoff.ceiling_ms(failures + 1)


@given(st.one_of(st.none(), st.integers(0)), st.booleans(), st.integers(1, 10**4), DRAWS)
def test_push_back_is_bounded_and_honours_what_was_asked(
    asked: int | None, blocked: bool, refusals: int, draw: float
) -> None:
    schedule = BLOCKED if blocked else THROTTLED
    wait = push_back_ms(RateLimited(429, asked, blocked=blocked), refusals, draw)
    assert schedule.ceiling_ms(refusals) // 2 <= wait <= max(schedule.cap_ms, RETRY_AFTER_LIMIT_MS)
    assert wait >= min(asked or 0, RETRY_AFTER_LIMIT_MS)


@given(st.text(max_size=80), st.integers(0, 2**42))
def test_any_retry_after_is_a_bounded_wait_or_nothing(header: str, now: int) -> None:
    wait = retry_after_ms(header, now)
    assert wait is None or 0 <= wait <= RETRY_AFTER_LIMIT_MS


@given(
    st.lists(st.sampled_from(["Mon,", "31", "Feb", "0000", "9999", "25:61:61", "00:00:00", "GMT", "+9999", "-0000"]))
)
def test_any_heap_of_date_parts_is_a_bounded_wait_or_nothing(parts: list[str]) -> None:
    wait = retry_after_ms(" ".join(parts), 0)
    assert wait is None or 0 <= wait <= RETRY_AFTER_LIMIT_MS

"""Waits before asking again."""

from __future__ import annotations

import math

import pytest

from reconciler_engine.errors import RateLimited
from reconciler_engine.planning.backoff import RETRY_AFTER_LIMIT_MS, Backoff, http_date_ms, push_back_ms, retry_after_ms

NOW = 784_111_777_000
"""Sun, 06 Nov 1994 08:49:37 GMT, the example date of RFC 9110."""

ALMOST_ONE = math.nextafter(1.0, 0.0)


def test_ceiling_doubles_until_its_cap() -> None:
    backoff = Backoff(base_ms=500, cap_ms=3_000)
    assert [backoff.ceiling_ms(n) for n in (1, 2, 3, 4, 5, 10**9)] == [500, 1_000, 2_000, 3_000, 3_000, 3_000]


def test_delay_is_full_jitter() -> None:
    backoff = Backoff(base_ms=500, cap_ms=3_000)
    assert [backoff.delay_ms(2, draw) for draw in (0.0, 0.5, ALMOST_ONE)] == [0, 500, 999]


@pytest.mark.parametrize(("base", "cap"), [(0, 10), (-1, 10), (11, 10)])
def test_impossible_bounds_are_refused(base: int, cap: int) -> None:
    with pytest.raises(ValueError, match=f"base_ms {base} and cap_ms {cap}"):
        Backoff(base, cap)


def test_no_wait_without_a_failure() -> None:
    with pytest.raises(ValueError, match="failures 0"):
        Backoff(1, 2).delay_ms(0, 0.0)


@pytest.mark.parametrize("draw", [1.0, -0.1, math.nan, math.inf])
def test_a_draw_outside_its_range_is_refused(draw: float) -> None:
    with pytest.raises(ValueError, match="draw"):
        Backoff(1, 2).delay_ms(1, draw)
    with pytest.raises(ValueError, match="draw"):
        push_back_ms(RateLimited(429), 1, draw)


@pytest.mark.parametrize(
    ("refusal", "refusals", "draw", "wait"),
    [
        (RateLimited(429), 1, 0.0, 500),
        (RateLimited(429), 1, ALMOST_ONE, 999),
        (RateLimited(429), 3, 0.5, 3_000),
        (RateLimited(429), 50, ALMOST_ONE, 59_999),
        (RateLimited(429, 0), 1, 0.0, 500),
        (RateLimited(429, 7_000), 1, 0.0, 7_000),
        (RateLimited(429, 1_000), 4, 0.0, 4_000),
        (RateLimited(429, 10**12), 1, 0.0, RETRY_AFTER_LIMIT_MS),
        (RateLimited(403, blocked=True), 1, 0.0, 15_000),
        (RateLimited(403, blocked=True), 9, ALMOST_ONE, 599_999),
    ],
)
def test_push_back(refusal: RateLimited, refusals: int, draw: float, wait: int) -> None:
    assert push_back_ms(refusal, refusals, draw) == wait


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("0", 0),
        ("7", 7_000),
        (" 7 ", 7_000),
        ("999999999", RETRY_AFTER_LIMIT_MS),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10_000),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10_000),
        ("Sun Nov  6 08:49:47 1994", 10_000),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
        ("Sun, 06 Nov 2094 08:49:37 GMT", RETRY_AFTER_LIMIT_MS),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("9" * 5_000, None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_retry_after(header: str | None, wait: int | None) -> None:
    assert retry_after_ms(header, NOW) == wait


def test_http_date() -> None:
    assert http_date_ms("Sun, 06 Nov 1994 08:49:37 GMT") == NOW

"""Meaning of each answer other than 200: a row a case of the exchange's known bodies."""

from __future__ import annotations

import json

import pytest

from reconciler_engine.coinbase.refusals import describe, excerpt, is_html, refusal
from reconciler_engine.errors import (
    BadResponse,
    NotAuthorized,
    RateLimited,
    RequestRefused,
    SourceError,
    SourceUnavailable,
)

NOW = 784_111_777_000
HTML = b"<html>\n<head><title>502 Bad Gateway</title></head>\n<body>cloudflare</body></html>"


def seen(error: str, details: str) -> bytes:
    return json.dumps({"error": error, "error_details": details, "message": details}).encode()


SPAN = "start and end argument is invalid - number of candles requested should be less than 350 "
ENUM = 'parsing field "granularity": "THREE_HOUR" is not a valid value'


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable", "said"),
    [
        (400, seen("INVALID_ARGUMENT", SPAN), RequestRefused, False, "HTTP 400 INVALID_ARGUMENT: start and end"),
        (
            400,
            seen("INVALID_ARGUMENT", "granularity argument is invalid "),
            RequestRefused,
            False,
            "argument is invalid",
        ),
        (400, seen("unknown", ENUM), RequestRefused, False, "THREE_HOUR"),
        (404, seen("NOT_FOUND", "valid product_id is required"), RequestRefused, False, "NOT_FOUND: valid product_id"),
        (404, b"", RequestRefused, False, "HTTP 404 no details"),
        (400, b'{"error":"e","code":3,"message":"m","details":[]}', RequestRefused, False, "HTTP 400 e: m"),
        (401, b"Unauthorized", NotAuthorized, False, "HTTP 401 Unauthorized"),
        (401, b"Unauthorized\n", NotAuthorized, False, "HTTP 401 Unauthorized"),
        (403, seen("PERMISSION_DENIED", "Missing required scopes"), NotAuthorized, False, "Missing required scopes"),
        (403, b"", NotAuthorized, False, "HTTP 403 no details"),
        (403, b"Too many errors", RateLimited, True, "HTTP 403"),
        (403, HTML, SourceUnavailable, True, "HTTP 403 HTML page"),
        (429, b"", RateLimited, True, "HTTP 429"),
        (
            429,
            b'{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}',
            RateLimited,
            True,
            "HTTP 429",
        ),
        (429, HTML, RateLimited, True, "HTTP 429"),
        (500, seen("INTERNAL", "oops"), SourceUnavailable, True, "HTTP 500 INTERNAL: oops"),
        (500, b"", SourceUnavailable, True, "HTTP 500 no details"),
        (502, HTML, SourceUnavailable, True, "HTTP 502 HTML page: <html> <head><title>502 Bad Gateway"),
        (503, HTML, SourceUnavailable, True, "HTTP 503"),
        (504, b"upstream request timeout", SourceUnavailable, True, "HTTP 504 upstream request timeout"),
        (520, b"error code: 520", SourceUnavailable, True, "HTTP 520"),
        (408, b"", SourceUnavailable, True, "HTTP 408"),
        (425, b"", SourceUnavailable, True, "HTTP 425"),
        (400, HTML, SourceUnavailable, True, "HTTP 400 HTML page"),
        (404, HTML, SourceUnavailable, True, "HTTP 404 HTML page"),
        (418, b"[1]", RequestRefused, False, "HTTP 418 [1]"),
        (301, HTML, BadResponse, True, "redirect to 'https://elsewhere.test/', not followed"),
        (204, b"", BadResponse, True, "HTTP 204 where 200"),
        (206, b'{"candles":[]}', BadResponse, True, "HTTP 206 where 200"),
    ],
)
def test_each_case(status: int, body: bytes, kind: type[SourceError], retryable: bool, said: str) -> None:
    error = refusal(status, {"location": "https://elsewhere.test/"}, body, NOW)
    assert (type(error), error.retryable) == (kind, retryable)
    assert said in str(error)


def test_only_the_block_after_many_errors_is_a_block() -> None:
    blocked, throttled = refusal(403, {}, b"Too many errors", NOW), refusal(429, {}, b"Too many errors", NOW)
    assert isinstance(blocked, RateLimited)
    assert isinstance(throttled, RateLimited)
    assert (blocked.blocked, throttled.blocked) == (True, False)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_counted_from_the_answers_own_date(status: int) -> None:
    headers = {"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "Sun, 06 Nov 1994 08:49:42 GMT"}
    ours = refusal(status, {"retry-after": headers["retry-after"]}, b"", NOW)
    theirs = refusal(status, headers, b"", NOW)
    assert isinstance(ours, RateLimited | SourceUnavailable)
    assert isinstance(theirs, RateLimited | SourceUnavailable)
    assert (ours.retry_after_ms, theirs.retry_after_ms) == (10_000, 5_000)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (seen("NOT_FOUND", "x "), "NOT_FOUND: x"),
        (b'{"message":"only"}', "only"),
        (b'{"error_details":"only"}', "only"),
        (b'{"error":7,"message":null}', '{"error":7,"message":null}'),
        (
            b'{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}',
            "rate_limit_exceeded: Too many requests",
        ),
        (b'{"errors":[]}', '{"errors":[]}'),
        (b'{"errors":["x"]}', '{"errors":["x"]}'),
        (b"  ", "no details"),
        (b"\xff\x00", "\N{REPLACEMENT CHARACTER}" * 2),
        (b"[" * 100_000, "[" * 120 + "..."),
    ],
)
def test_describe(body: bytes, said: str) -> None:
    assert describe(body) == said


def test_an_excerpt_is_one_short_printable_line() -> None:
    assert excerpt(b"a\r\n\tb\x1b[31m" + b"c" * 500) == "a b\N{REPLACEMENT CHARACTER}[31m" + "c" * 112 + "..."


def test_an_excerpt_never_holds_a_token() -> None:
    token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJrIn0.c2ln-_"
    assert excerpt(f"you sent {token}!") == "you sent [token]!"
    assert excerpt("x" * 110 + f"Bearer {token}") == "x" * 110 + "Bearer [to..."


def test_a_page_is_known_by_its_first_character() -> None:
    assert [is_html(body) for body in (b"<a", b" \n<a", b"{<", b"", b"Unauthorized")] == [
        True,
        True,
        False,
        False,
        False,
    ]

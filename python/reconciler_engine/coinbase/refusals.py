"""Answers with another status than 200, as errors of the engine. Pure.

The bodies are those seen on the wire; the documentation names only the JSON form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus

from reconciler_engine.errors import (
    BadResponse,
    NotAuthorized,
    RateLimited,
    RequestRefused,
    SourceError,
    SourceUnavailable,
)
from reconciler_engine.planning.backoff import http_date_ms, retry_after_ms

_EXCERPT_LIMIT = 120
# A token never leaves this room, not even when an answer quotes it.
_TOKEN = re.compile(r"eyJ[\w-]*(\.[\w-]*)*")
_REDIRECTS = range(300, 400)
# The same request can pass later.
_TRY_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY)


def refusal(status: int, headers: Mapping[str, str], body: bytes, now: int) -> SourceError:
    """Return the error that an answer with a status other than 200 is.

    Args:
        status: HTTP status.
        headers: The answer's headers, lower-case names; none of them is relied on.
        body: The answer's body: JSON in either form of the exchange's envelope, bare text, HTML or nothing.
        now: This machine's clock (ms UTC), for a Retry-After date in an answer without a Date header.
    """
    reason = describe(body)
    wait_ms = retry_after_ms(headers.get("retry-after"), http_date_ms(headers.get("date", "")) or now)
    blocked = status == HTTPStatus.FORBIDDEN and "too many errors" in reason.lower()
    if blocked or status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(status, wait_ms, blocked=blocked)
    if status in _REDIRECTS:
        return BadResponse(f"HTTP {status} redirect to {excerpt(headers.get('location', ''))!r}, not followed")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRY_LATER or is_html(body):
        return SourceUnavailable(f"HTTP {status} {reason}", wait_ms, status=status)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return NotAuthorized(status, reason)
    if status >= HTTPStatus.BAD_REQUEST:
        return RequestRefused(status, reason)
    return BadResponse(f"HTTP {status} where 200 is documented")


def describe(body: bytes) -> str:
    """Return the text of an error body, on one short line.

    Read are `{"error", "error_details", "message"}` (seen) and `{"error", "code", "message", "details"}` (documented),
    any key absent, `{"errors": [{"id", "message"}]}` (rate limits), bare text and HTML; else it is "no details".
    """
    if is_html(body):
        return f"HTML page: {excerpt(body)}"
    try:
        answer: object = json.loads(body)
    except (ValueError, RecursionError):
        return excerpt(body) or "no details"
    if isinstance(answer, dict):
        several = answer.get("errors")
        if isinstance(several, list) and several and isinstance(several[0], dict):
            answer = {"error": several[0].get("id"), **several[0]}
        said = (answer.get(key) for key in ("error", "message", "error_details"))
        texts = dict.fromkeys(text.strip() for text in said if isinstance(text, str) and text.strip())
        if texts:
            return excerpt(": ".join(texts))
    return excerpt(body) or "no details"


def is_html(body: bytes) -> bool:
    """Return whether `body` is a page for a browser, such as a CDN's challenge; content types are not trusted."""
    return body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def excerpt(text: bytes | str) -> str:
    """Return the beginning of `text` for a message: one line, printable, without tokens, at most 120 characters."""
    # Tokens are masked before the cut, else a cut one would not be known any more.
    head = text[: 100 * _EXCERPT_LIMIT]
    line = head.decode(errors="replace") if isinstance(head, bytes) else head
    line = " ".join(_TOKEN.sub("[token]", line).split())
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
    return line if len(line) <= _EXCERPT_LIMIT else f"{line[:_EXCERPT_LIMIT]}..."

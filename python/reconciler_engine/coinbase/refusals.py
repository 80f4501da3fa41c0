"""Maps answers with a status other than 200 to errors of the engine. Pure.

The forms of bodies are those that were seen; the documentation describes only the JSON form.
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
# Tokens are masked in messages, since an answer may quote the request's token.
_TOKEN = re.compile(r"eyJ[\w-]*(\.[\w-]*)*")
_REDIRECTS = range(300, 400)
# The same request can succeed later.
_TRY_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY)


def refusal(status: int, headers: Mapping[str, str], body: bytes, now: int) -> SourceError:
    """Return the error for an answer with a status other than 200.

    Args:
        status: HTTP status.
        headers: The answer's headers, with lower-case names; any of them may be missing.
        body: The answer's body: JSON in one of the exchange's forms, plain text, HTML or empty.
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
    """Return the text of an error body as one short line, or "no details".

    Understands `{"error", "error_details", "message"}` (seen), `{"error", "code", "message", "details"}` (documented),
    both with keys missing, `{"errors": [{"id", "message"}]}` (rate limits), plain text and HTML.
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
    """Return whether `body` is an HTML page, such as a CDN's browser check, whatever its content type."""
    return body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def excerpt(text: bytes | str) -> str:
    """Return the beginning of `text` for a message: one line, printable, without tokens, at most 120 characters."""
    # Mask tokens before shortening: a shortened token would not be recognised.
    head = text[: 100 * _EXCERPT_LIMIT]
    line = head.decode(errors="replace") if isinstance(head, bytes) else head
    line = " ".join(_TOKEN.sub("[token]", line).split())
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
    return line if len(line) <= _EXCERPT_LIMIT else f"{line[:_EXCERPT_LIMIT]}..."

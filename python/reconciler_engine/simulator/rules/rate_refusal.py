"""Forms of a refusal for rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from reconciler_engine.simulator.api_response import ApiResponse

_BODY = b'{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}'


@dataclass(frozen=True, slots=True)
class ThrottleStyle:
    """Extras of a 429; by default it has an empty body and no headers, as seen in practice.

    Attributes:
        retry_after: Send `Retry-After` in whole `seconds` or as an HTTP `date`; `none` sends none.
        rate_headers: Send `x-ratelimit-limit`, `-remaining` and `-reset`.
        body: Send the documented JSON body.
    """

    retry_after: str = "none"
    rate_headers: bool = False
    body: bool = False


def refuse_for_rate(style: ThrottleStyle, wait_s: float, rate: float, now_s: float) -> ApiResponse:
    """Return a 429.

    Args:
        style: Headers and body that it carries.
        wait_s: Seconds until a request would pass.
        rate: The limit (requests a second).
        now_s: Time of the exchange (seconds UTC), for a date.
    """
    headers: list[tuple[str, str]] = []
    whole_s = math.ceil(wait_s)
    if style.retry_after == "seconds":
        headers.append(("retry-after", str(whole_s)))
    elif style.retry_after == "date":
        headers.append(("retry-after", formatdate(math.ceil(now_s + wait_s), usegmt=True)))
    if style.rate_headers:
        headers += [
            ("x-ratelimit-limit", f"{rate:g}"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", str(whole_s)),
        ]
    if style.body:
        headers.append(("content-type", "application/json; charset=utf-8"))
    return ApiResponse(HTTPStatus.TOO_MANY_REQUESTS, _BODY if style.body else b"", tuple(headers))

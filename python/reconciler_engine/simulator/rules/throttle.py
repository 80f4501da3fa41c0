"""The exchange's rate limit, with one token bucket for each identity, and the forms of its 429 answer."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from reconciler_engine.simulator.api_response import ApiResponse

_IDENTITIES_LIMIT = 4096


class Throttle:
    """Token buckets, one for each identity; a new bucket is full, and tokens are added at a constant rate.

    Holds at most 4,096 buckets and drops the least recently used first; its identity then gets a new, full one.

    Args:
        rate: Requests a second, at least 0; 0 for no limit.
        burst: Size of a bucket, at least 1.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, identity: str, now_s: float) -> float:
        """Take a token and return 0, or, if the bucket is empty, return the seconds until the next token.

        Args:
            identity: The client that sends the request.
            now_s: Time by a monotonic clock (seconds).
        """
        if not self._rate:
            return 0.0
        tokens, seen_s = self._buckets.pop(identity, (float(self._burst), now_s))
        tokens = min(self._burst, tokens + (now_s - seen_s) * self._rate)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[identity] = (tokens if wait_s else tokens - 1, now_s)
        if len(self._buckets) > _IDENTITIES_LIMIT:
            self._buckets.popitem(last=False)
        return wait_s


class Penalty:
    """Counts refusals by cause; after a number of them, all clients are blocked for a time."""

    def __init__(self) -> None:
        self._refusals: dict[str, int] = {}
        self._blocked_until_s = float("-inf")

    def add(self, cause: str, limit: int, block_s: float, now_s: float) -> None:
        """Count a refusal; each `limit`-th refusal of a cause starts a block of `block_s` seconds."""
        self._refusals[cause] = self._refusals.get(cause, 0) + 1
        if self._refusals[cause] >= limit:
            self._refusals[cause] = 0
            self._blocked_until_s = now_s + block_s

    def is_blocked(self, now_s: float) -> bool:
        """Return whether all clients are blocked now."""
        return now_s < self._blocked_until_s


_BODY = b'{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}'


@dataclass(frozen=True, slots=True)
class ThrottleStyle:
    """Optional parts of a 429 answer; by default it has an empty body and no such headers, as the exchange's today.

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
        style: Optional headers and body to send.
        wait_s: Seconds until a request would be admitted.
        rate: The limit (requests a second).
        now_s: Time of the exchange (seconds UTC), for a `Retry-After` date.
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

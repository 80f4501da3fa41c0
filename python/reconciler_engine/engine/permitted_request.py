"""Requests to the exchange: each needs a permit, and its outcome is shared with all processes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from random import random
from typing import TypeVar

from reconciler_engine.errors import (
    IdentityStopped,
    NotAuthorized,
    RateLimited,
    RequestRefused,
    SourceError,
    SourceUnavailable,
    StoreError,
    TokenRefused,
)
from reconciler_engine.limiting.breaker import DENIALS, SILENCES, Fate
from reconciler_engine.limiting.permit_steps import Noted, Permit, PermitSteps
from reconciler_engine.limiting.redis_bucket import TokenBucket
from reconciler_engine.planning.backoff import push_back_ms
from reconciler_engine.steps import Steps

_Received = TypeVar("_Received")
_logger = logging.getLogger(__name__)


async def send(
    bucket: TokenBucket,
    permit: Permit,
    request: Callable[..., Awaitable[_Received]],
    *args: object,
    signed: bool = True,
    draw: Callable[[], float] = random,
) -> _Received:
    """Send the one request that a permit is for, and report its outcome to the shared breaker and budget.

    A rate limit slows all processes down and makes them pause. So do a block and an exchange that does not answer;
    after these, one probe at a time tests whether the exchange serves again. If Redis is away when the outcome is
    reported, the answer is returned all the same.

    Args:
        bucket: The bucket that gave the permit.
        permit: The permit; used up by the call.
        request: Function that sends the request, such as `source.fetch_candles`.
        args: Arguments of `request`.
        signed: Whether `request` signs when there is a key. The success of an unsigned request proves nothing about
            the key.
        draw: Gives uniform random draws from `[0, 1)`.

    Raises:
        IdentityStopped: The exchange has now refused the key too often.
        SourceError: As `request`.
    """
    try:
        received = await request(*args)
    except SourceError as error:
        await _note(bucket, permit, error, draw(), signed=signed)
        raise
    except BaseException:
        # Cancelled: the outcome will stay unknown.
        await bucket.give_back(permit)
        raise
    await _note(bucket, permit, None, 0.0, signed=signed)
    return received


async def _note(bucket: TokenBucket, permit: Permit, error: SourceError | None, draw: float, *, signed: bool) -> None:
    fate, status = fate_of(error)
    if fate is Fate.SERVED and bucket.is_for_key and not signed:
        fate = Fate.UNCLEAR
    try:
        noted, pause_ms = await bucket.converse(tell(bucket.steps, permit, error, draw, fate=fate))
        await bucket.count_use()
    except StoreError as away:
        _logger.info("an answer's outcome is not noted", extra={"answer": fate.value, "error": str(away)})
        return
    if noted.count:
        facts = {"answer": fate.value, "status": status, "in_a_row": noted.count, "pause_ms": pause_ms}
        _logger.log(_level(fate, noted.count), "exchange in trouble", extra=facts)
    if fate is Fate.DENIED and noted.stopped_ms:
        raise IdentityStopped(status, noted.stopped_ms) from error


def _level(fate: Fate, count: int) -> int:
    """Return the log level of a failure: a warning only for the failure that slows all processes down."""
    loud_at = {Fate.SILENT: SILENCES, Fate.DENIED: DENIALS}.get(fate, 1)
    if count == loud_at:
        return logging.WARNING
    return logging.DEBUG if fate is Fate.SILENT and count > loud_at else logging.INFO


def tell(
    permits: PermitSteps,
    permit: Permit,
    error: SourceError | None,
    draw: float,
    *,
    fate: Fate | None = None,
    last_s: float | None = None,
) -> Steps[tuple[Noted, int]]:
    """Report a request's outcome to breaker and budget; return the breaker's count and the pause for all (ms)."""
    answer, status = fate_of(error)
    noted = yield from permits.report(permit, fate or answer, status, last_s)
    pause_ms = 0
    if isinstance(error, RateLimited | SourceUnavailable):
        pause_ms = push_back_ms(error, noted.count, draw) if noted.count else error.retry_after_ms or 0
    if pause_ms:
        yield from permits.push_back(pause_ms, last_s)
    return noted, pause_ms


def fate_of(error: SourceError | None) -> tuple[Fate, int]:
    """Return the fate of a request with this error for the breaker, and the HTTP status (0 without an answer)."""
    fate = Fate.UNCLEAR
    match error:
        case None:
            return Fate.SERVED, HTTPStatus.OK.value
        case RateLimited():
            fate = Fate.BLOCKED if error.blocked else Fate.THROTTLED
        case SourceUnavailable():
            fate = Fate.SILENT
        case TokenRefused() | NotAuthorized(signed=True):
            fate = Fate.DENIED
        case RequestRefused():
            # The fault is in the request itself; the exchange and the key are in order.
            fate = Fate.SERVED
    return fate, getattr(error, "status", 0)

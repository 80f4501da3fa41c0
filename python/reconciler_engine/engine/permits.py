"""Permits for other programs that send requests to the exchange from an engine's address or with an engine's key."""

from __future__ import annotations

import hashlib
import logging
import socket
import time
from collections.abc import Callable, Mapping
from random import random
from types import TracebackType
from typing import Final, Literal, TypeVar, cast

from reconciler_engine.coinbase.base_url import COINBASE
from reconciler_engine.coinbase.refusals import describe, refusal
from reconciler_engine.engine.permitted_request import tell
from reconciler_engine.errors import ConfigError, NotAuthorized, SourceError, SourceUnavailable
from reconciler_engine.limiting.permit_steps import DEFAULT_MAX_WAIT_S, LAST_WORDS_S, YIELDS_S, Permit, PermitSteps
from reconciler_engine.steps import Now, Steps
from reconciler_engine.store.bucket_script import bucket_steps, read_terms
from reconciler_engine.store.budget_use import Purpose, use_call
from reconciler_engine.store.client.scripts import batch
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.drivers.choice import PendingAnswer, ask, needs_await
from reconciler_engine.store.drivers.redis_py_clients import AwaitedRedis, SyncRedis, is_away
from reconciler_engine.store.scope import Scope

Priority = Literal["low", "live"]

_PRIORITIES: Final[dict[Priority, float]] = {"low": YIELDS_S, "live": 0.0}
_RESERVE_S: Final = 5.0
_LONGEST_S: Final = 3_600
_SERVED: Final = range(200, 300)
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)


def permit(
    redis: AwaitedRedis | SyncRedis,
    *,
    priority: Priority = "low",
    max_wait_s: float = DEFAULT_MAX_WAIT_S,
    name: str = "other program",
    base_url: str = COINBASE,
    egress: str | None = None,
    api_key_id: str | None = None,
) -> PermitBlock:
    """Wait for a permit from the budget of the engines on that Redis; send one request in the block.

    ```python
    with permit(redis.Redis()) as request:  # `async with` for a client of redis.asyncio, or a TrioRedis
        answer = httpx.get("https://api.coinbase.com/api/v3/brokerage/market/products")
        request.answered(answer.status_code, answer.headers, answer.content)
    ```

    Budget, rate, pauses and breaker are shared with the engines: a refusal by the exchange slows all programs down.
    Send the request at once; a permit expires 250 ms after it was given. If a program dies or is cancelled, its permit
    counts as used. If its request was the breaker's only probe, another program may probe after 30 s.

    Args:
        redis: The client, as for `is_ready`.
        priority: `low` lets other requests go first, for ten seconds at most: it leaves the bucket's last permit to
            them. `live` takes its turn at once, like the pages of gaps.
        max_wait_s: Longest wait for the permit (s), an hour at most.
        name: Name of this program in `reconciler-engine budget`.
        base_url: As the engine's setting.
        egress: As the engine's setting.
        api_key_id: Id of the API key that signs the requests; None where they are unsigned.

    Raises:
        ValueError: An argument is not allowed.

    Entering the block raises:
        ConfigError: Redis has no budget that an engine made for these arguments.
        PermitRefused: The wait would exceed `max_wait_s`; the budget is unchanged.
        IdentityStopped: The exchange refused the key too often.
        SourceUnavailable: The exchange does not answer, and did not answer the latest probe.
        StoreError: Redis did not answer; a redis-py client raises redis-py's own exceptions.
    """
    if priority not in _PRIORITIES:
        raise ValueError(f"priority {priority!r} is not allowed; allowed: {', '.join(_PRIORITIES)}")
    if not 0 <= max_wait_s <= _LONGEST_S:
        raise ValueError(f"max_wait_s {max_wait_s!r} is not allowed; allowed: seconds from 0 to {_LONGEST_S}")
    budget = "public" if egress is None else f"egress:{egress}"
    if api_key_id is not None:
        budget = f"key-{hashlib.sha256(api_key_id.encode()).hexdigest()[:16]}"
    return PermitBlock(redis, Scope.of(0, 0, base_url), budget, name, max_wait_s, _PRIORITIES[priority])


class PermitBlock:
    """The block in which one request is sent."""

    def __init__(
        self,
        redis: AwaitedRedis | SyncRedis,
        scope: Scope,
        budget: str,
        name: str,
        max_wait_s: float,
        yields_s: float,
    ) -> None:
        self._redis = redis
        self._scope = scope
        self._budget = budget
        self._name = name
        self._waits = (max_wait_s, yields_s)
        self._request: PermittedRequest | None = None

    def __enter__(self) -> PermittedRequest:
        return self._have(self._take)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._have(self._tell)

    async def __aenter__(self) -> PermittedRequest:
        return await self._await(self._take)

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self._await(self._tell)

    def _have(self, steps: Callable[[], Steps[_T]]) -> _T:
        if needs_await(self._redis):
            raise TypeError("redis is a client that is awaited; allowed: `async with permit(...)`")
        return cast("_T", ask(self._redis, "permit", steps))

    async def _await(self, steps: Callable[[], Steps[_T]]) -> _T:
        if not needs_await(self._redis):
            raise TypeError("redis is a client that blocks; allowed: `with permit(...)`")
        return await cast("PendingAnswer[_T]", ask(self._redis, "permit", steps))

    def _take(self) -> Steps[PermittedRequest]:
        key = self._scope.shared_key(f"budget:{self._budget}")
        terms = yield from read_terms(key)
        if terms is None:
            fault = f"budget {key} was made by no engine on this Redis"
            raise ConfigError([f"{fault}; allowed: base_url, egress and api_key_id as in the settings of an engine"])
        permits = PermitSteps(bucket_steps(key, terms.breaker), (), terms.lateness_us, lambda _: None, _RESERVE_S)
        max_wait_s, yields_s = self._waits
        permit = yield from permits.wait(max_wait_s, yields_s=yields_s)
        left_s = permit.expires - (yield Now())
        self._request = PermittedRequest(
            permits, permit, time.monotonic() + left_s, is_signed=self._budget.startswith("key-")
        )
        return self._request

    def _tell(self) -> Steps[None]:
        """Report the outcome of the request, even while the caller is cancelled."""
        request = self._request
        if request is None:
            return
        try:
            yield from request.tell()
            if request.is_told:
                call = use_call(self._scope.shared_key("use"), self._budget, socket.gethostname(), Purpose(self._name))
                all_served((yield from batch([call], LAST_WORDS_S)))
        except Exception as error:
            if not is_away(error):
                raise
            _logger.warning("an answer's outcome is not noted", extra={"error": str(error)})


class PermittedRequest:
    """Permission to send one request to the exchange now; its sender reports the outcome."""

    def __init__(self, permits: PermitSteps, permit: Permit, expires: float, *, is_signed: bool) -> None:
        self._permits = permits
        self._permit = permit
        self._expires = expires
        self._is_signed = is_signed
        self._error: SourceError | None = None
        self.is_told = False

    def is_valid(self) -> bool:
        """Whether the request may still be sent; do not use an expired permit."""
        return time.monotonic() <= self._expires

    def answered(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Report the exchange's answer: the HTTP status and, if available, the headers and the body.

        A wait that the headers ask for, or a block that the body announces, then holds for all programs.
        """
        named = {name.lower(): value for name, value in (headers or {}).items()}
        error = None if status in _SERVED else refusal(status, named, body, time.time_ns() // 1_000_000)
        if self._is_signed and isinstance(error, NotAuthorized):
            error = NotAuthorized(status, describe(body), signed=True)
        self._error, self.is_told = error, True

    def unanswered(self) -> None:
        """Report that no answer came: the connection broke, or the request timed out."""
        self._error = SourceUnavailable("no answer")
        self.is_told = True

    def tell(self) -> Steps[None]:
        """Report the outcome to the bucket and the breaker; without an outcome give the permit back."""
        if self.is_told:
            yield from tell(self._permits, self._permit, self._error, random(), last_s=LAST_WORDS_S)
        else:
            yield from self._permits.give_back(self._permit)

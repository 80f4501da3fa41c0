"""Outcomes of requests to the exchange, for the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from reconciler_engine.errors import (
    BadResponse,
    NotAuthorized,
    RateLimited,
    RequestRefused,
    SourceError,
    SourceUnavailable,
)
from reconciler_engine.observe.metrics import REQUEST_SECONDS, REQUESTS

_OUTCOMES = {
    RateLimited: "rate_limited",
    SourceUnavailable: "unavailable",
    BadResponse: "bad_response",
    RequestRefused: "refused",
    NotAuthorized: "not_authorized",
}

_STATUSES = frozenset({200, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504})
"""Those told apart; of the rest the class is told, so that no server can make up labels without end."""


@dataclass(slots=True)
class Asked:
    """A request under way; `status` is the answer's, None before there is one."""

    status: int | None = None

    @property
    def label(self) -> str:
        """The status as a label."""
        if self.status is None:
            return "none"
        return str(self.status) if self.status in _STATUSES else f"{self.status // 100}xx"


@contextmanager
def counted(endpoint: str) -> Iterator[Asked]:
    """Count the request that the block sends, by the error that ends the block, if any."""
    asked = Asked()
    began = trio.current_time()
    outcome = "cancelled"
    try:
        yield asked
        outcome = "ok"
    except SourceError as error:
        outcome = _OUTCOMES.get(type(error), "other")
        raise
    finally:
        REQUESTS.add(1, endpoint, outcome, asked.label)
        REQUEST_SECONDS.observe(trio.current_time() - began, endpoint)

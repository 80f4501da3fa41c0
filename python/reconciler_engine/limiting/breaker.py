"""The circuit breaker for an exchange: after failures, only one request at a time (a probe) may go out.

breaker.lua enforces the rules inside Redis, as part of the bucket's script, so every permit obeys the breaker. Each
identity (an API key, or an address for unsigned requests) has one breaker, shared by all processes of all machines.
Instants are microseconds of the bucket's clock.

Refusals, probes, and failures of probes each begin a new turn of the breaker. A permit carries the turn in which it was
granted, and the outcome of its request counts only in that turn. So if several concurrent requests are refused, only
the first one counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SILENCES: Final = 3
"""Consecutive failures (no answer, or a server error) after which only probes go out."""

DENIALS: Final = 4
"""Consecutive refused tokens after which the identity is stopped.

The exchange sometimes refuses valid tokens, and has throttled with 401 (field reports): one refusal proves little."""

STOP_US: Final = 3_600_000_000
"""How long a stopped identity sends no requests. After that, a probe finds out whether the key works again."""

GONE: Final = SILENCES + 3
"""Consecutive failures after which a waiter gives up as soon as it has seen another probe fail."""


class Fate(StrEnum):
    """The outcome of a request. `UNCLEAR` means that it does not show whether the exchange serves."""

    SERVED = "served"
    UNCLEAR = "unclear"
    SILENT = "silent"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Breaker:
    """State of the breaker of one identity. A fresh one admits all requests.

    Attributes:
        turn: Number of the current turn; it only grows.
        silent: Consecutive failures.
        throttled: Consecutive refusals for rate.
        blocked: Consecutive blocks.
        denied: Consecutive refused tokens.
        probe: Instant until which a probe excludes all other requests; 0 without a probe.
        stopped: Instant until which no requests are sent; 0 if the identity is not stopped.
        why: HTTP status of the last failure; 0 if no answer came.
    """

    turn: int = 0
    silent: int = 0
    throttled: int = 0
    blocked: int = 0
    denied: int = 0
    probe: int = 0
    stopped: int = 0
    why: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether the exchange failed so often that waiters give up after one more probe."""
        return self.silent >= GONE

    @property
    def is_alone(self) -> bool:
        """Whether only probes may go out: one request at a time."""
        return self.silent >= SILENCES or self.blocked > 0 or self.denied > 0

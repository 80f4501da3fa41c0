"""The circuit breaker before an exchange: after trouble one request at a time finds out whether it is over.

breaker.lua keeps its rules inside Redis, in the bucket's script, so that no permit goes out that the breaker does not
allow. An identity has one, shared by every process of every node; instants are microseconds of the bucket's clock.

A permit carries the breaker's turn. The outcome of its request counts only in that turn: of requests under way at the
same time the first one to fail counts, and requests sent before say nothing about the time after.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SILENCES: Final = 3
"""Failures in a row, no answer or a server in trouble, until one request at a time has to do."""

DENIALS: Final = 4
"""Refused tokens in a row until the identity stops.

Good tokens are refused now and then, and throttling has come as 401 (field reports): one refusal says little."""

STOP_US: Final = 3_600_000_000
"""How long a stopped identity asks nothing; then one request finds out whether the key was put in order."""

GONE: Final = SILENCES + 3
"""Failures in a row after which a waiter gives up once it has seen one probe fail."""


class Fate(StrEnum):
    """The fate of a request. `UNCLEAR` says neither that the exchange serves nor that it does not."""

    SERVED = "served"
    UNCLEAR = "unclear"
    SILENT = "silent"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Breaker:
    """Memory of an exchange's last answers to one identity; a fresh one lets everybody through.

    Attributes:
        turn: Names the state that permits were given in; it only grows.
        silent: Failures in a row.
        throttled: Refusals for rate in a row.
        blocked: Blocks in a row.
        denied: Refused tokens in a row.
        probe: Until then one request is under way alone; 0 for none.
        stopped: Until then nothing is asked at all; 0 for never.
        why: HTTP status of the last trouble; 0 where there was no answer.
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
        """Whether waiting for the exchange is given up."""
        return self.silent >= GONE

    @property
    def is_alone(self) -> bool:
        """Whether one request at a time may go out, to find out whether the trouble is over."""
        return self.silent >= SILENCES or self.blocked > 0 or self.denied > 0

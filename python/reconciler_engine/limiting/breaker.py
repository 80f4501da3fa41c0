"""The circuit breaker before an exchange: after trouble one request at a time finds out whether it is over.

Pure; breaker.lua does the same inside Redis, in the bucket's script, so that no permit goes out that the breaker does
not allow. An identity has one, shared by every process of every node; instants are microseconds of the bucket's clock.

A permit carries the breaker's turn. What became of its request counts only in that turn: of requests under way at the
same time the first one to fail counts, and what was sent before says nothing about afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

SILENCES: Final = 3
"""Failures in a row, no answer or a server in trouble, until one request at a time has to do."""

DENIALS: Final = 4
"""Refused tokens in a row until the identity stops.

Good tokens are refused now and then, and throttling has come as 401 (field reports): one refusal says little."""

STOP_US: Final = 3_600_000_000
"""How long a stopped identity asks nothing; then one request finds out whether the key was put in order."""

PROBE_LIFE_US: Final = 30_000_000
"""A probe that nobody reported on died with its process after so long: a whole request may take 20 s."""

GONE: Final = SILENCES + 3
"""Failures in a row after which nobody waits for more than one probe: who saw it fail gives up."""

OCCUPIED_US: Final = 250_000
"""When to ask again while somebody else probes."""

# A probe's slot is at most so far ahead (token_bucket.LONGEST_WAIT_US); what lies further is damage.
_FARTHEST_PROBE_US: Final = 3_600_000_000 + PROBE_LIFE_US


class Answer(StrEnum):
    """What became of a request. `UNCLEAR` says neither that the exchange serves nor that it does not."""

    SERVED = "served"
    UNCLEAR = "unclear"
    SILENT = "silent"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is remembered of an exchange's last answers to one identity; a fresh one lets everybody through.

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


def mend(breaker: Breaker, now_us: int) -> Breaker:
    """Return the breaker without instants that no history could have brought."""
    probe = breaker.probe if breaker.probe <= now_us + _FARTHEST_PROBE_US else 0
    return replace(breaker, probe=probe, stopped=breaker.stopped if breaker.stopped <= now_us + STOP_US else 0)


def begin_probe(breaker: Breaker, now_us: int, slot: int) -> Breaker:
    """Return the breaker once somebody has taken `slot` to ask alone."""
    return replace(breaker, turn=_next_turn(breaker, now_us), probe=slot + PROBE_LIFE_US)


def report(breaker: Breaker, now_us: int, turn: int, answer: Answer, why: int) -> tuple[Breaker, int]:
    """Take note of what became of a request sent in `turn`.

    Returns:
        The breaker afterwards, and what everybody's pause is counted by: how often in a row it was this, 0 where there
        is no cause for a pause.
    """
    if turn != breaker.turn:
        return breaker, 0
    if answer is Answer.SERVED:
        return Breaker(turn), 0
    after = replace(breaker, probe=0)
    if answer is Answer.UNCLEAR:
        return after, 0
    count = getattr(breaker, answer) + 1
    after = replace(after, **{answer.value: count}, why=why)
    if answer is Answer.SILENT:
        if not after.is_alone:
            return after, 0
        count = max(1, count - SILENCES + 1)
    after = replace(after, turn=_next_turn(breaker, now_us))
    if after.is_alone:
        # Until the pause that this is counted for has arrived, nobody probes.
        after = replace(after, probe=now_us + OCCUPIED_US)
    if answer is Answer.DENIED and count >= DENIALS:
        after = replace(after, stopped=now_us + STOP_US)
    return after, count


def forgive(breaker: Breaker, now_us: int) -> Breaker:
    """Return the breaker with refused tokens forgotten: somebody says that the key was put in order."""
    return replace(breaker, turn=_next_turn(breaker, now_us), denied=0, probe=0, stopped=0)


def _next_turn(breaker: Breaker, now_us: int) -> int:
    # By the clock, so that a breaker that was lost names no turn twice.
    return max(breaker.turn + 1, now_us)

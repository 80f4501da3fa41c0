"""Conversations that wait for a permit and report its outcome, without I/O, for engines and for other programs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

import trio

from reconciler_engine.errors import IdentityStopped, PermitRefused, SourceUnavailable
from reconciler_engine.limiting.breaker import Fate
from reconciler_engine.limiting.budget import LONGEST_WAIT_US
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.steps import Now, Pause, Steps

DEFAULT_MAX_WAIT_S: Final = 30.0
YIELDS_S: Final = 10.0
"""How long a request of low priority lets all others go first; then it competes with them."""

LAST_WORDS_S: Final = 1.0
_logger = logging.getLogger(__name__)


class Reply(IntEnum):
    """The first number of the script's reply to `reserve` and `confirm`.

    Attributes:
        REFUSED: `reserve`: no slot within the allowed wait. `confirm`: the reservation is void.
        GRANTED: `reserve`: the slot is reserved. `confirm`: the permit may be used now.
        EARLY: The reserved slot is still ahead.
        OCCUPIED: Only one request at a time may go out, and another caller has it.
        STOPPED: The identity is stopped, and sends no requests for a while.
        GONE: The exchange failed so often that callers give up after one more failed probe.
    """

    REFUSED = 0
    GRANTED = 1
    EARLY = 2
    OCCUPIED = 3
    STOPPED = 4
    GONE = 5


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one request now. The caller reports the request's outcome.

    Attributes:
        expires: Instant after which the permit is void (s of trio's clock).
        turn: The breaker's turn in which it was granted.
    """

    expires: float
    turn: int

    def is_valid(self) -> bool:
        """Whether the permit may still be used."""
        return trio.current_time() <= self.expires


@dataclass(frozen=True, slots=True)
class Noted:
    """Reply to the report of a request's outcome.

    Attributes:
        count: Number of consecutive reports of this outcome, which sets the next pause; 0 if no pause is needed.
        stopped_ms: How long the identity is stopped; 0 if it is not.
    """

    count: int
    stopped_ms: int


@dataclass(slots=True)
class _Patience:
    """Consecutive failures of a gone exchange when a waiter first saw them; None before."""

    failures: int | None = None


class AskScript(Protocol):
    """Function that calls the bucket's script, as steps of a conversation."""

    def __call__(self, *arguments: int | str, last_s: float | None = None) -> Steps[list[int]]:
        """Return the script's reply; `last_s` is as in `Send`."""


class PermitSteps:
    """Makes conversations with one bucket, to be carried out by a driver."""

    def __init__(
        self,
        ask: AskScript,
        limits: Sequence[int],
        lateness_us: int,
        note_lost: Callable[[str], None],
        reserve_s: float | None = None,
    ) -> None:
        """Make conversations with a bucket.

        Args:
            ask: Calls the bucket's script.
            limits: Interval and tolerance of each limit (us).
            lateness_us: How long after its slot a permit may be used.
            note_lost: Called with the reason if no permit is got, or one is lost.
            reserve_s: How long a cancelled caller still waits for the reply to its reservation, so that it can give the
                permit back; None for not at all.
        """
        self._ask = ask
        self._limits = limits
        self._lateness_us = lateness_us
        self._note_lost = note_lost
        self._reserve_s = reserve_s

    def wait(self, max_wait_s: float, *, failed: bool = False, yields_s: float = 0.0) -> Steps[Permit]:
        """Wait for a permit, at most `max_wait_s`; for the first `yields_s`, let other requests go first.

        `failed` and the errors are those of `TokenBucket.wait_permit`.
        """
        began = yield Now()
        patience = _Patience(0 if failed else None)
        deadline = began + min(max_wait_s, LONGEST_WAIT_US / 1_000_000)
        now = began
        while True:
            operation = "spare" if now < began + yields_s else "reserve"
            permit = yield from self._reserve(operation, now, deadline, patience)
            if permit is not None:
                return permit
            now = yield Now()
            if now >= deadline:
                raise PermitRefused(0)

    def report(self, permit: Permit, fate: Fate, status: int = 0, last_s: float | None = None) -> Steps[Noted]:
        """Report the outcome of a permit's request; `status` is the answer's HTTP status, 0 without an answer."""
        told = (permit.turn, fate.value, status)
        count, stopped_us = yield from self._ask("report", *told, *self._limits, last_s=last_s)
        return Noted(count, ceil_div(stopped_us, 1_000))

    def give_back(self, permit: Permit) -> Steps[None]:
        """Report that a permit was not used, in a second at most. If that fails, a probe expires by itself."""
        try:
            yield from self.report(permit, Fate.UNCLEAR, last_s=LAST_WORDS_S)
        except Exception as error:  # noqa: BLE001  of any client
            _logger.info("a permit is not given back", extra={"error": str(error)})

    def push_back(self, pause_ms: int, last_s: float | None = None) -> Steps[None]:
        """Grant no permits for `pause_ms`, at most an hour, and then start from an empty bucket.

        A current pause that ends later stays. Reservations with a slot in the pause become void.
        """
        pause_us = min(max(0, pause_ms) * 1000, LONGEST_WAIT_US)
        yield from self._ask("push", pause_us, *self._limits, last_s=last_s)

    def _reserve(self, operation: str, asked: float, deadline: float, patience: _Patience) -> Steps[Permit | None]:
        """Reserve a slot and wait for it; return None if the reservation must be repeated."""
        max_wait_us = max(0, int((deadline - asked) * 1_000_000))
        taken, wait_us, *rest = yield from self._ask(operation, max_wait_us, *self._limits, last_s=self._reserve_s)
        if taken == Reply.STOPPED:
            self._note_lost("stopped")
            raise IdentityStopped(rest[0], ceil_div(wait_us, 1_000))
        if taken == Reply.GONE:
            status, silent = rest
            if patience.failures is not None and silent > patience.failures:
                self._note_lost("gone")
                said = f"HTTP {status}" if status else "no answer"
                # The message has no number of failures, so that the errors of many pages are equal and told once.
                raise SourceUnavailable(f"{said} to the last requests", status=status)
            patience.failures = silent
        if taken in {Reply.OCCUPIED, Reply.GONE}:
            yield Pause(min(wait_us, max_wait_us) / 1_000_000)
            return None
        if taken != Reply.GRANTED:
            self._note_lost("refused")
            raise PermitRefused(ceil_div(wait_us, 1000))
        slot, born, turn = rest
        try:
            permit = yield from self._wait_slot(asked, wait_us, slot, born, turn)
        except BaseException:
            yield from self.give_back(Permit(asked, turn))
            raise
        if permit is not None and (yield Now()) <= permit.expires:
            return permit
        self._note_lost("void")
        if permit is not None:
            yield from self.give_back(permit)
        return None

    def _wait_slot(self, asked: float, wait_us: int, slot: int, born: int, turn: int) -> Steps[Permit | None]:
        """Sleep until the reserved slot comes and confirm it; return None if the reservation became void."""
        late_us = 0
        while wait_us:
            yield Pause(wait_us / 1_000_000)
            asked = yield Now()
            verdict, *rest = yield from self._ask("confirm", slot, born, turn, self._lateness_us)
            if verdict == Reply.GRANTED:
                late_us, wait_us = rest[0], 0
            elif verdict == Reply.EARLY:
                wait_us = rest[0]
            else:
                return None
        # Counted from before the request to the script: the time of its reply counts as lateness.
        return Permit(asked + (self._lateness_us - late_us) / 1_000_000, turn)

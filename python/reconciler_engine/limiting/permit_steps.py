"""Steps of waiting for a permit and of reporting its outcome, without I/O, for engines and for other programs."""

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
"""How long a request of low priority lets all others go first; then it takes its turn."""

LAST_WORDS_S: Final = 1.0
_logger = logging.getLogger(__name__)


class Reply(IntEnum):
    """The first number of the script's reply to `reserve` and `confirm`.

    Attributes:
        REFUSED: No slot within the wait that was allowed; to `confirm`, a reservation that is void.
        GRANTED: A slot that is the caller's; to `confirm`, a permit that may be used now.
        EARLY: A slot that still lies ahead.
        OCCUPIED: The one request at a time that finds out about the exchange is somebody else's.
        STOPPED: An identity that asks nothing for a while.
        GONE: An exchange that failed so often that nobody waits for more than one probe.
    """

    REFUSED = 0
    GRANTED = 1
    EARLY = 2
    OCCUPIED = 3
    STOPPED = 4
    GONE = 5


@dataclass(frozen=True, slots=True)
class Permit:
    """One request may go out now; the bucket is told its outcome.

    Attributes:
        expires: The last moment for it (trio's clock, s): later it is void.
        turn: The breaker's turn it was given in.
    """

    expires: float
    turn: int

    def is_valid(self) -> bool:
        """Whether it may still be used."""
        return trio.current_time() <= self.expires


@dataclass(frozen=True, slots=True)
class Noted:
    """Reply to a report.

    Attributes:
        count: How often in a row it was this; 0 where everybody may go on as before.
        stopped_ms: How long nothing is asked any more under this identity; 0 where it goes on.
    """

    count: int
    stopped_ms: int


@dataclass(slots=True)
class _Patience:
    """Failures in a row that a waiter saw of an exchange that is gone."""

    failures: int | None = None


class AskScript(Protocol):
    """Ask the bucket's script."""

    def __call__(self, *arguments: int | str, last_s: float | None = None) -> Steps[list[int]]:
        """Give the script's reply; `last_s` is that of `Send`."""


class PermitSteps:
    """Conversations with one bucket."""

    def __init__(
        self,
        ask: AskScript,
        limits: Sequence[int],
        lateness_us: int,
        note_lost: Callable[[str], None],
        reserve_s: float | None = None,
    ) -> None:
        """Take the way to ask the script, its limits, how late a permit may be used, and the counter of lost ones.

        `reserve_s` is how long the reply to a reservation is waited for in spite of a cancel, so that none is left
        behind of which nobody knows the turn; None for not at all.
        """
        self._ask = ask
        self._limits = limits
        self._lateness_us = lateness_us
        self._note_lost = note_lost
        self._reserve_s = reserve_s

    def wait(self, max_wait_s: float, *, failed: bool = False, yields_s: float = 0.0) -> Steps[Permit]:
        """Wait for a permit, so many seconds at most; let others go first for `yields_s` of them.

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
        """Say that nothing came of a permit, in a second at most; a probe runs out by itself where that fails."""
        try:
            yield from self.report(permit, Fate.UNCLEAR, last_s=LAST_WORDS_S)
        except Exception as error:  # noqa: BLE001  of any client
            _logger.info("a permit is not given back", extra={"error": str(error)})

    def push_back(self, pause_ms: int, last_s: float | None = None) -> Steps[None]:
        """Let nobody have a permit for so long, at most an hour, then go on from an empty bucket.

        A pause that lasts longer already stays as it is. Reservations that fall into the pause are void.
        """
        pause_us = min(max(0, pause_ms) * 1000, LONGEST_WAIT_US)
        yield from self._ask("push", pause_us, *self._limits, last_s=last_s)

    def _reserve(self, operation: str, asked: float, deadline: float, patience: _Patience) -> Steps[Permit | None]:
        """Take a slot and wait for it; None where it has to be done again."""
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
                # Without their number: one cause, however many pages tell of it.
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
        """Sleep until the slot comes that was taken at `asked`; None where it is void by then."""
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
        # From before the question: the time its answer took counts as lateness.
        return Permit(asked + (self._lateness_us - late_us) / 1_000_000, turn)

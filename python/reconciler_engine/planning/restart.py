"""Whether and when a dead child is started again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler_engine.planning.backoff import Backoff

BEAT_S = 1.0
"""How often a child says that all is well."""

EXIT_CONFIG = 78
"""A child's exit code for a configuration that cannot work: starting it again cannot help."""

EXIT_BUSY = 75
"""A child's exit code where an engine of another protocol is at work: that one must end first."""

FRUITLESS_LIMIT = 5
FRUITLESS_WINDOW_MS = 60_000
_LEAST_PAUSE_MS = 500
_JITTER = Backoff(base_ms=500, cap_ms=29_500)


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended.

    Attributes:
        at: When (ms of a monotonic clock).
        status: Exit code, or the negative number of the signal that killed it.
        was_useful: Whether it had done any work.
    """

    at: int
    status: int
    was_useful: bool


@dataclass(frozen=True, slots=True)
class RestartDecision:
    """Start the child again after `delay_ms`, or give its role up for `reason`."""

    delay_ms: int = 0
    reason: str | None = None


def decide_restart(deaths: Sequence[Death], draw: float) -> RestartDecision:
    """Decide about a role after its last death.

    A child that had been useful is started again at once. One that died before its first useful work waits 0.5-30 s
    with full jitter; more than `FRUITLESS_LIMIT` such deaths within `FRUITLESS_WINDOW_MS` end the role, as does a
    configuration error. Only the last `FRUITLESS_LIMIT` + 1 deaths are looked at.

    Args:
        deaths: All deaths of the role, oldest first, at least one.
        draw: A uniform random draw from `[0, 1)`.
    """
    last = deaths[-1]
    if last.status == EXIT_CONFIG:
        return RestartDecision(reason="its configuration cannot work")
    if last.was_useful:
        return RestartDecision()
    recent = [death for death in deaths if not death.was_useful and last.at - death.at < FRUITLESS_WINDOW_MS]
    if len(recent) > FRUITLESS_LIMIT:
        return RestartDecision(
            reason=f"died {len(recent)} times within {FRUITLESS_WINDOW_MS // 1_000} s before doing any work"
        )
    return RestartDecision(delay_ms=_LEAST_PAUSE_MS + _JITTER.delay_ms(len(recent), draw))

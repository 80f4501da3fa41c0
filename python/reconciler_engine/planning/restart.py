"""Decide whether and when to restart a dead child process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler_engine.planning.backoff import Backoff

BEAT_S = 1.0
"""Interval in seconds at which a child reports that it is alive."""

EXIT_CONFIG = 78
"""Exit code of a child for a configuration that cannot work: a restart cannot help."""

EXIT_BUSY = 75
"""Exit code of a child if an engine with another protocol version is running: that engine must end first."""

FRUITLESS_LIMIT = 5
FRUITLESS_WINDOW_MS = 60_000
_LEAST_PAUSE_MS = 500
_JITTER = Backoff(base_ms=500, cap_ms=29_500)


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended.

    Attributes:
        at: When it ended (ms of a monotonic clock).
        status: Exit code, or the negative number of the signal that killed it.
        was_useful: Whether it had done any work.
    """

    at: int
    status: int
    was_useful: bool


@dataclass(frozen=True, slots=True)
class RestartDecision:
    """Restart the child after `delay_ms`, or give up its role if there is a `reason`."""

    delay_ms: int = 0
    reason: str | None = None


def decide_restart(deaths: Sequence[Death], draw: float) -> RestartDecision:
    """Decide about a role after the last death of its child.

    A child that did useful work is restarted at once. A child that died before any useful work is restarted after
    0.5-30 s with full jitter. More than `FRUITLESS_LIMIT` such deaths within `FRUITLESS_WINDOW_MS` end the role, and so
    does a configuration error.

    Args:
        deaths: Deaths of the role, oldest first, at least one. The last `FRUITLESS_LIMIT` + 1 suffice.
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

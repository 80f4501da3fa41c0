"""The breaker's rules: the model that breaker.lua is held to."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from reconciler_engine.limiting.breaker import DENIALS, SILENCES, STOP_US, Breaker, Fate

PROBE_LIFE_US: Final = 30_000_000
"""A probe that nobody reported on died with its process after so long: a whole request may take 20 s."""

OCCUPIED_US: Final = 250_000
"""When to ask again while somebody else probes."""

# A probe's slot is at most so far ahead (token_bucket.LONGEST_WAIT_US); one further ahead is damage.
_FARTHEST_PROBE_US: Final = 3_600_000_000 + PROBE_LIFE_US


def mend(breaker: Breaker, now_us: int) -> Breaker:
    """Return the breaker without instants that no history could have brought."""
    probe = breaker.probe if breaker.probe <= now_us + _FARTHEST_PROBE_US else 0
    return replace(breaker, probe=probe, stopped=breaker.stopped if breaker.stopped <= now_us + STOP_US else 0)


def begin_probe(breaker: Breaker, now_us: int, slot: int) -> Breaker:
    """Return the breaker once somebody has taken `slot` to ask alone."""
    return replace(breaker, turn=_next_turn(breaker, now_us), probe=slot + PROBE_LIFE_US)


def report(breaker: Breaker, now_us: int, turn: int, answer: Fate, why: int) -> tuple[Breaker, int]:
    """Take note of what became of a request sent in `turn`.

    Returns:
        The breaker afterwards, and the number of such answers in a row, which everybody's pause grows by; 0 without a
        cause for a pause.
    """
    if turn != breaker.turn:
        return breaker, 0
    if answer is Fate.SERVED:
        return Breaker(turn), 0
    after = replace(breaker, probe=0)
    if answer is Fate.UNCLEAR:
        return after, 0
    count = getattr(breaker, answer) + 1
    after = replace(after, **{answer.value: count}, why=why)
    if answer is Fate.SILENT:
        if not after.is_alone:
            return after, 0
        count = max(1, count - SILENCES + 1)
    after = replace(after, turn=_next_turn(breaker, now_us))
    if after.is_alone:
        # Until the pause that this is counted for has arrived, nobody probes.
        after = replace(after, probe=now_us + OCCUPIED_US)
    if answer is Fate.DENIED and count >= DENIALS:
        after = replace(after, stopped=now_us + STOP_US)
    return after, count


def forgive(breaker: Breaker, now_us: int) -> Breaker:
    """Return the breaker with refused tokens forgotten: somebody says that the key was put in order."""
    return replace(breaker, turn=_next_turn(breaker, now_us), denied=0, probe=0, stopped=0)


def _next_turn(breaker: Breaker, now_us: int) -> int:
    # By the clock, so that a breaker that was lost names no turn twice.
    return max(breaker.turn + 1, now_us)

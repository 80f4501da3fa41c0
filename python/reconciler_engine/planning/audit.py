"""The audit of values: where cache and exchange disagree about a candle, and when the cache's gives way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import NamedTuple

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.ledger import OF_VALUES, Finding, Ledger, State
from reconciler_engine.planning.sightings import RIPE_MS, resting_until
from reconciler_engine.planning.window import DEFAULT_GRACE_MS


class Copy(NamedTuple):
    """A candle as the cache holds it, alone in its slot.

    Attributes:
        member: Its text, byte for byte.
        values: Open, high, low, close, volume.
        is_live: Whether it came over the websocket: it has a sequence number.
    """

    member: bytes
    values: tuple[float, ...]
    is_live: bool


class Doubt(NamedTuple):
    """A candle from which the exchange's differs.

    Attributes:
        candle: The exchange's.
        member: The cache's, as it was read before the exchange was asked.
        is_live: Whether the cache's came live.
        yields: Whether the cache's gives way to it.
    """

    candle: Candle
    member: bytes
    is_live: bool
    yields: bool


@dataclass(frozen=True, slots=True)
class AuditRules:
    """What becomes of a candle from which the exchange's differs.

    Attributes:
        repairs: Whether candles give way; else they are only reported.
        settle_ms: How long after its close the exchange's candle is final: from then on the cache's gives way.
    """

    repairs: bool = False
    settle_ms: int = RIPE_MS


def find_doubts(
    copies: Mapping[int, Copy],
    candles: Iterable[Candle],
    at: int,
    step: int,
    rules: AuditRules,
    *,
    grace_ms: int = DEFAULT_GRACE_MS,
) -> list[Doubt]:
    """Return the candles to which the exchange's are not equal, in the order of `candles`.

    Args:
        copies: The cache's candles before the exchange was asked, by open time.
        candles: What the exchange answered.
        at: When it was asked (ms UTC).
        step: The grid's step (ms).
        rules: What becomes of them.
        grace_ms: A bar that closed less than this before may still be on its way, here and there: no doubt.
    """
    doubts = []
    for candle in candles:
        copy = copies.get(candle.timestamp)
        closed_at = candle.timestamp + step
        if copy is not None and closed_at <= at - grace_ms and not is_equal(copy.values, values_of(candle)):
            yields = rules.repairs and closed_at + rules.settle_ms <= at
            doubts.append(Doubt(candle, copy.member, copy.is_live, yields))
    return doubts


def find_due_suspects(ledger: Ledger, interval: Interval, now: int, step: int, rules: AuditRules) -> Intervals:
    """Return the suspect candles that are worth a request at `now`.

    A candle that gives way by the rules of now is, whatever they were when it was found. Any other suspect rests: it is
    asked for again after 1 h and 6 h, then daily.

    Args:
        ledger: What is known.
        interval: Where to look.
        now: The instant (ms UTC).
        step: The grid's step (ms).
        rules: What becomes of candles from which the exchange's differ.
    """
    found: list[Interval] = []
    for start, stop, finding in ledger.within(interval):
        due = rests_until(finding)
        if finding.state is not State.SUSPECT or due is None or finding.next_check is None or now < finding.next_check:
            continue
        if now >= due:
            found.append(Interval(start, stop))
            continue
        if rules.repairs:
            closed = Interval(0, max((now - rules.settle_ms) // step * step, 0))
            found.append(Interval(start, stop) & closed)
    return Intervals(found)


def rests_until(finding: Finding) -> int | None:
    """Return from when on a slot is asked for again, unless its candle gives way before (ms UTC); None for never."""
    if finding.next_check is None or finding.reason not in OF_VALUES:
        return finding.next_check
    return max(finding.next_check, resting_until(finding.first, finding.last))


def is_equal(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two candles' values are equal: prices exactly, volumes to 1e-8, since a feeder sums trades."""
    return one[:-1] == other[:-1] and isclose(one[-1], other[-1], rel_tol=1e-8)


def values_of(candle: Candle) -> tuple[float, ...]:
    """Return open, high, low, close, volume."""
    return candle.open, candle.high, candle.low, candle.close, candle.volume

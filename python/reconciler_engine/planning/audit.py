"""The audit of values: find candles whose cached values differ from the exchange's, and which may be replaced. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import NamedTuple

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.answers import closed_slots
from reconciler_engine.planning.ledger import Finding, Ledger, Reason, State
from reconciler_engine.planning.sightings import resting_until
from reconciler_engine.planning.verification import DEFAULT_SETTLE_MS


class Copy(NamedTuple):
    """A candle as the cache holds it, as the only member of its slot.

    Attributes:
        member: Its text, byte for byte.
        values: Open, high, low, close, volume.
    """

    member: bytes
    values: tuple[float, ...]


class Doubt(NamedTuple):
    """A cached candle whose values differ from the exchange's.

    Attributes:
        candle: The exchange's candle.
        copy: The cached candle, as it was read before the exchange was asked.
        yields: Whether the exchange's candle may replace the cached one.
    """

    candle: Candle
    copy: Copy
    yields: bool

    @property
    def member(self) -> bytes:
        """Text of the cached candle."""
        return self.copy.member

    @property
    def differs_in_open(self) -> bool:
        """Whether the two candles have different open prices."""
        return self.copy.values[0] != self.candle.open

    @property
    def lowers_volume(self) -> bool:
        """Whether the exchange's candle has less volume than the cached one, beyond rounding."""
        there = self.copy.values[-1]
        return self.candle.volume < there and not _is_same_volume(self.candle.volume, there)


@dataclass(frozen=True, slots=True)
class AuditRules:
    """Rules for cached candles that differ from the exchange's.

    Attributes:
        repairs: Whether they are replaced; else they are only reported.
        settle_ms: Time after its close when the exchange's candle is final; younger candles are not compared.
    """

    repairs: bool = False
    settle_ms: int = DEFAULT_SETTLE_MS


def find_doubts(
    copies: Mapping[int, Copy], candles: Iterable[Candle], at: int, step: int, rules: AuditRules
) -> list[Doubt]:
    """Return the cached candles that differ from the exchange's, in the order of `candles`.

    Args:
        copies: Cached candles as they were before the exchange was asked, by open time.
        candles: The exchange's candles.
        at: When the exchange was asked (ms UTC); candles that were not final then are left out.
        step: The grid's step (ms).
        rules: Rules for candles in doubt.
    """
    final = closed_slots(at, rules.settle_ms, step)
    both = ((candle, copies.get(candle.timestamp)) for candle in candles if candle.timestamp in final)
    return [
        Doubt(candle, copy, rules.repairs)
        for candle, copy in both
        if copy is not None and not is_equal(copy.values, values_of(candle))
    ]


def find_due_suspects(ledger: Ledger, interval: Interval, now: int, step: int, rules: AuditRules) -> Intervals:
    """Return the suspect candles that are worth a request at `now`.

    A suspect that the current rules may replace is due at once, even if it was found under rules that did not replace
    candles. Any other suspect rests: it is asked for again after 1 h and 6 h, then daily.

    Args:
        ledger: Findings on the slots.
        interval: Where to look.
        now: The instant (ms UTC).
        step: The grid's step (ms).
        rules: Rules for candles in doubt.
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
            found.append(Interval(start, stop) & closed_slots(now, rules.settle_ms, step))
    return Intervals(found)


def rests_until(finding: Finding) -> int | None:
    """Return when a slot may be asked for again (ms UTC) if its candle is not replaced before; None for never."""
    if finding.next_check is None or finding.reason is not Reason.VALUES_DIFFER:
        return finding.next_check
    return max(finding.next_check, resting_until(finding.first, finding.last))


def is_equal(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two candles are equal: prices exactly, volumes within a relative 1e-8, since feeders add up trades."""
    return one[:-1] == other[:-1] and _is_same_volume(one[-1], other[-1])


def _is_same_volume(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=1e-8)


def values_of(candle: Candle) -> tuple[float, ...]:
    """Return open, high, low, close, volume."""
    return candle.open, candle.high, candle.low, candle.close, candle.volume

"""Rules that choose the requests to which faults happen; `delivery` and `spoilt_answers` carry the faults out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType

from reconciler_engine.market.interval import Interval

_WHOLE = 1 << 64
_ALWAYS = Interval(-(1 << 62), 1 << 62)

Value = str | float | bool


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault and the requests to which it happens; `modes` lists the settings of each mode.

    Attributes:
        name: Name of the rule in the log; a rule that is set again unchanged keeps its counts.
        mode: Kind of fault.
        path: Pattern of the path (`*` and `?`).
        product: Pattern of the product in the path; a request without a product matches only `*`.
        granularity: Pattern of the granularity asked for; a request without one matches only `*`.
        first: Number of the first matching request that the fault can happen to, from 1.
        every: From `first` on, the fault can happen to each `every`-th matching request.
        count: Number of times that the fault happens at most; 0 for no limit.
        probability: Chance that the fault happens to a request it can happen to; the draw is a hash of the seed.
        window: Instants by the exchange's clock (ms UTC) in which the rule applies.
        values: Settings of the mode.
    """

    name: str
    mode: str
    path: str = "*"
    product: str = "*"
    granularity: str = "*"
    first: int = 1
    every: int = 1
    count: int = 0
    probability: float = 1.0
    window: Interval = _ALWAYS
    values: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))

    def number(self, name: str) -> float:
        """Return a numeric setting of the mode."""
        return float(self.values[name])

    def text(self, name: str) -> str:
        """Return a text setting of the mode."""
        return str(self.values[name])


@dataclass(frozen=True, slots=True)
class FaultState:
    """A rule with its counts: requests that matched it, and times that its fault happened."""

    rule: FaultRule
    matched: int
    played: int


class Faults:
    """The rules in force, with their counts.

    The rules are tried in order; a request suffers the first fault that happens to it. New rules start with counts of
    0; a rule that is set again unchanged keeps its counts.

    Args:
        rules: Rules in force at the beginning.
        seed: Seed of the draws.
    """

    def __init__(self, rules: Sequence[FaultRule] = (), seed: int = 1) -> None:
        self._seed = seed
        self._rules: tuple[FaultRule, ...] = tuple(rules)
        self._matched: dict[str, int] = {}
        self._played: dict[str, int] = {}

    @property
    def states(self) -> tuple[FaultState, ...]:
        """Counts of each rule."""
        return tuple(
            FaultState(rule, self._matched.get(rule.name, 0), self._played.get(rule.name, 0)) for rule in self._rules
        )

    def set(self, rules: Sequence[FaultRule]) -> None:
        """Replace the rules, from the next request on."""
        kept = {rule.name for rule in rules if rule in self._rules}
        self._matched = {name: count for name, count in self._matched.items() if name in kept}
        self._played = {name: count for name, count in self._played.items() if name in kept}
        self._rules = tuple(rules)

    def choose(self, path: str, product: str | None, granularity: str | None, now: int) -> FaultRule | None:
        """Return the rule whose fault happens to a request at `now` (ms UTC), if any; updates the counts."""
        for rule in self._rules:
            if now not in rule.window or not _matches(rule, path, product, granularity):
                continue
            number = self._matched.get(rule.name, 0) + 1
            self._matched[rule.name] = number
            played = self._played.get(rule.name, 0)
            in_turn = number >= rule.first and (number - rule.first) % rule.every == 0
            if in_turn and (not rule.count or played < rule.count) and self._draw(rule, number) < rule.probability:
                self._played[rule.name] = played + 1
                return rule
        return None

    def _draw(self, rule: FaultRule, number: int) -> float:
        digest = hashlib.blake2b(f"{self._seed}:{rule.name}:{number}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / _WHOLE


def _matches(rule: FaultRule, path: str, product: str | None, granularity: str | None) -> bool:
    return (
        fnmatchcase(path, rule.path)
        and (rule.product == "*" or (product is not None and fnmatchcase(product, rule.product)))
        and (rule.granularity == "*" or (granularity is not None and fnmatchcase(granularity, rule.granularity)))
    )

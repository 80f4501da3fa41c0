"""Flaws: the places of a series that break a rule. The first ones of each rule are kept, all are counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler_engine.inspection.quality_rules import Rule, Severity

PLACES_KEPT = 20
"""Places of a rule that are told; the others are counted."""


class Place(NamedTuple):
    """Rows or slots in a row that break a rule.

    Attributes:
        first: Open time of the first one (ms UTC); None where it cannot be read.
        last: Open time of the last one.
        rows: Number of them.
        numbers: Values that show the fault.
    """

    first: int | None
    last: int | None
    rows: int
    numbers: str


@dataclass(slots=True)
class Flaw:
    """All places of a series that break one rule.

    Attributes:
        rule: The rule.
        rows: Number of rows or slots.
        places: Number of places.
        told: The first places, at most `PLACES_KEPT`.
    """

    rule: Rule
    rows: int = 0
    places: int = 0
    told: list[Place] = field(default_factory=list)


class Flaws:
    """The flaws of one series so far."""

    def __init__(self) -> None:
        self._by_rule: dict[Rule, Flaw] = {}

    def note(self, rule: Rule, first: int | None, last: int | None, rows: int, numbers: str = "") -> None:
        """Add a place."""
        flaw = self._by_rule.setdefault(rule, Flaw(rule))
        flaw.rows += rows
        flaw.places += 1
        if len(flaw.told) < PLACES_KEPT:
            flaw.told.append(Place(first, last, rows, numbers))

    def add_untold(self, rule: Rule, rows: int) -> None:
        """Count places of one row each beyond those that were noted."""
        flaw = self._by_rule.setdefault(rule, Flaw(rule))
        flaw.rows += rows
        flaw.places += rows

    def rows(self, rule: Rule) -> int:
        """Return the number of rows that break a rule."""
        return self._by_rule[rule].rows if rule in self._by_rule else 0

    def ranked(self) -> list[Flaw]:
        """Return the flaws in the order of the rules' table, errors first."""
        order = [*Severity]
        return sorted(self._by_rule.values(), key=lambda flaw: (order.index(flaw.rule.severity), _PLACE[flaw.rule]))


_PLACE = {rule: index for index, rule in enumerate(Rule)}

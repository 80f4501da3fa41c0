"""The rules of `inspect`, and the flaws of a series: all places that break a rule are counted, the first are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How serious a flaw is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


_SOURCE = "get these rows anew from their source, or leave them out"
_UNIT = "multiply the rows on one side, so that all have one unit"
_LOOK = "compare them with the exchange before use"


class Rule(Enum):
    """A rule: its severity, a description of the rows or slots that break it, and the cure."""

    UNREADABLE = (Severity.ERROR, "lines that are not rows", "correct these lines, or leave them out")
    OFF_GRID = (Severity.ERROR, "rows between two open times of the timeframe", "name the timeframe that they have")
    TWO_VALUES = (Severity.ERROR, "rows with the open time of another row and other values", "keep the right one")
    REPEATED_ROW = (Severity.WARNING, "rows that are there already", "leave them out; `load` does")
    NOT_A_NUMBER = (Severity.ERROR, "rows with a value that is not a finite number", _SOURCE)
    PRICE_NOT_ABOVE_ZERO = (Severity.ERROR, "rows with a price that is not above 0", _SOURCE)
    VOLUME_BELOW_ZERO = (Severity.ERROR, "rows with a volume below 0", _SOURCE)
    HIGH_BELOW_LOW = (Severity.ERROR, "rows with a high below their low", _SOURCE)
    OUT_OF_BOUNDS = (Severity.ERROR, "rows that open or close outside of their low and high", _SOURCE)
    PRICE_UNIT = (Severity.ERROR, "rows from which on the price has another unit", _UNIT)
    VOLUME_UNIT = (Severity.WARNING, "rows from which on the volume has another unit", _UNIT)
    REPEATED_VALUES = (Severity.WARNING, "rows with the values of earlier ones, in their order", _LOOK)
    FLAT = (Severity.WARNING, "rows of one price all through, twenty in a row or more", _LOOK)
    ZERO_VOLUME = (Severity.NOTE, "rows of volume 0", "none, if they stand for slots without trades")
    NOT_A_CANDLE = (
        Severity.ERROR,
        "members that are not candles of the series",
        "`reconcile`; for bars to come, remove them by hand",
    )
    SHARED_SLOT = (Severity.ERROR, "slots with several candles", "keep one of each: `reconcile`")
    SUSPECT = (Severity.ERROR, "candles that the exchange disagrees with", "ask again: `verify`")
    CONTESTED = (Severity.ERROR, "candles repaired three times in a day", "stop the second writer; `evidence mark`")
    MISSING = (Severity.WARNING, "slots without a candle and not proved empty", "fetch them: `reconcile`, `backfill`")
    NOT_READY = (Severity.WARNING, "slots for which `ready` says no", "see `ready` for why and when")

    @property
    def label(self) -> str:
        """Name of the rule for programs."""
        return self.name.lower()

    @property
    def severity(self) -> Severity:
        """Severity of a flaw by this rule."""
        return self.value[0]

    @property
    def what(self) -> str:
        """Description of the rows or slots that break the rule, in the plural."""
        return self.value[1]

    @property
    def cure(self) -> str:
        """Instruction that removes the flaw."""
        return self.value[2]


PLACES_KEPT = 20
"""Most places kept for each rule; all further ones are only counted."""


class Place(NamedTuple):
    """Consecutive rows or slots that break a rule.

    Attributes:
        first: Open time of the first one (ms UTC); None if unreadable or unknown.
        last: Open time of the last one (ms UTC), or None.
        rows: Number of rows or slots.
        numbers: Text with the values that show the flaw.
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
        told: The first `PLACES_KEPT` places.
    """

    rule: Rule
    rows: int = 0
    places: int = 0
    told: list[Place] = field(default_factory=list)


class Flaws:
    """Collects the flaws of one series."""

    def __init__(self) -> None:
        self._by_rule: dict[Rule, Flaw] = {}

    def note(self, rule: Rule, first: int | None, last: int | None, rows: int, numbers: str = "") -> None:
        """Add a place that breaks a rule."""
        flaw = self._by_rule.setdefault(rule, Flaw(rule))
        flaw.rows += rows
        flaw.places += 1
        if len(flaw.told) < PLACES_KEPT:
            flaw.told.append(Place(first, last, rows, numbers))

    def add_untold(self, rule: Rule, rows: int) -> None:
        """Count further places of one row each, without keeping them."""
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

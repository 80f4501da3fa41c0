"""Rules about bars in a row: runs, repeated rows, and prices in another unit. Each takes bar after bar."""

from __future__ import annotations

import math
from typing import NamedTuple

from reconciler_engine.inspection.flaws import Flaws, Rule

Values = tuple[float, float, float, float, float]
"""Open, high, low, close, volume."""


class Run:
    """Bars in a row with something in common; a long run is a flaw.

    Attributes:
        rows: Bars of the run that is open; 0 where none is.
    """

    def __init__(self, flaws: Flaws, rule: Rule, least: int) -> None:
        self._flaws = flaws
        self._rule = rule
        self._least = least
        self._first = self._last = 0
        self._common: float | None = None
        self.rows = 0

    def take(self, at: int, common: float | None) -> None:
        """Take the next bar: the run goes on while `common` stays the same, and a bar with None is in no run."""
        if common != self._common:
            self.finish()
            self._common, self._first = common, at
        if common is not None:
            self._last = at
            self.rows += 1

    def finish(self) -> None:
        """End the run."""
        if self.rows >= self._least:
            self._flaws.note(
                self._rule, self._first, self._last, self.rows, f"{self._common:.12g}" if self._common else ""
            )
        self._common, self.rows = None, 0


class RepeatedValues:
    """Bars with the values of earlier ones, in the same order: a page stored twice, or a feed that stood still.

    Bars of a thin market can be equal by chance, above all flat ones and those of few whole units. So a bar that moved
    counts alone only if its volume has six digits or more, and else from two in a row on.
    """

    _LEAST = 2
    _TELLING_DIGITS = 6
    _MEMORY = 5_000

    def __init__(self, flaws: Flaws) -> None:
        self._flaws = flaws
        self._number = 0
        # Two generations: forgetting the older one bounds the memory.
        self._seen: dict[Values, int] = {}
        self._before: dict[Values, int] = {}
        self._distance = self._rows = self._least = 0
        self._first = self._last = 0

    def take(self, at: int, values: Values) -> None:
        """Take the next bar."""
        self._number += 1
        earlier = self._seen.get(values) or self._before.get(values)
        if earlier is not None:
            self._weigh(at, values, self._number - earlier)
        elif self._rows:
            self._end()
        self._seen[values] = self._number
        if len(self._seen) >= self._MEMORY:
            self._before, self._seen = self._seen, {}

    def _weigh(self, at: int, values: Values, distance: int) -> None:
        """Take a bar with the values of the one so many bars before it."""
        _, high, low, _, volume = values
        if distance != self._distance:
            if high == low and distance < self._distance:
                # A flat bar that came again since then: it neither confirms the run nor ends it.
                return
            self._end()
            if high == low:
                return
            is_telling = len(f"{volume:.15g}".partition("e")[0].replace(".", "").strip("0")) >= self._TELLING_DIGITS
            self._distance, self._first, self._least = distance, at, 1 if is_telling else self._LEAST
        self._last = at
        self._rows += 1

    def finish(self) -> None:
        """End the series: the next one may hold the same bars again."""
        self._end()
        self._seen, self._before = {}, {}

    def _end(self) -> None:
        """End the run."""
        if self._rows and self._rows >= self._least:
            numbers = f"as {self._distance} rows before" if self._distance > 1 else "as the row before"
            self._flaws.note(Rule.REPEATED_VALUES, self._first, self._last, self._rows, numbers)
        self._distance = self._rows = 0


class _Jump(NamedTuple):
    """A close that is a power of ten away from the one before."""

    at: int
    before: float
    after: float
    power: int


class PriceUnit:
    """Prices in another unit from one bar on: they change by a power of ten, calm before and calm after.

    A spike does not count: the next bars are at the old price again.
    """

    _MOVE = 5.0
    _TOLERANCE = 0.1
    _CALM_BEFORE = 5
    _CALM_AFTER = 20

    def __init__(self, flaws: Flaws) -> None:
        self._flaws = flaws
        self._close: float | None = None
        self._calm = 0
        self._jump: _Jump | None = None

    def take(self, at: int, close: float) -> None:
        """Take the close of the next bar."""
        before, self._close = self._close, close
        if before is not None and not before < close * self._MOVE < before * self._MOVE * self._MOVE:
            self._jump = self._recognise(at, before, close)
            self._calm = 0
        self._calm += 1
        if self._jump is not None and self._calm > self._CALM_AFTER:
            self._tell(self._jump)

    def _recognise(self, at: int, before: float, close: float) -> _Jump | None:
        size = math.log10(close / before)
        power = round(size)
        is_unit = self._calm >= self._CALM_BEFORE and abs(size - power) <= self._TOLERANCE
        return _Jump(at, before, close, power) if is_unit else None

    def _tell(self, jump: _Jump) -> None:
        numbers = f"x{10.0**jump.power:g}: close {jump.before:.12g}, then {jump.after:.12g}"
        self._flaws.note(Rule.PRICE_UNIT, jump.at, jump.at, 1, numbers)
        self._jump = None

    def finish(self) -> None:
        """End the series: a jump near its end stays, as far as can be seen."""
        if self._jump is not None and self._calm >= self._CALM_BEFORE:
            self._tell(self._jump)
        self._jump = self._close = None
        self._calm = 0

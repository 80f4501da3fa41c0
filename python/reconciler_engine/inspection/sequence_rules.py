"""Rules about sequences of bars: runs, repeated values, and changes of the price unit. Each rule is fed bar by bar."""

from __future__ import annotations

import math
from typing import NamedTuple

from reconciler_engine.inspection.flaws import Flaws, Rule

Values = tuple[float, float, float, float, float]
"""Open, high, low, close, volume."""


class Run:
    """Consecutive bars with a common value. A run of at least `least` bars is a flaw.

    Attributes:
        rows: Number of bars in the current run; 0 if there is no run.
    """

    def __init__(self, flaws: Flaws, rule: Rule, least: int) -> None:
        self._flaws = flaws
        self._rule = rule
        self._least = least
        self._first = self._last = 0
        self._common: float | None = None
        self.rows = 0

    def take(self, at: int, common: float | None) -> None:
        """Take the next bar. It continues the run if `common` is the run's value; None means that it is in no run."""
        if common != self._common:
            self.finish()
            self._common, self._first = common, at
        if common is not None:
            self._last = at
            self.rows += 1

    def finish(self) -> None:
        """End the run, and note it if it is long enough."""
        if self.rows >= self._least:
            self._flaws.note(
                self._rule, self._first, self._last, self.rows, f"{self._common:.12g}" if self._common else ""
            )
        self._common, self.rows = None, 0


class RepeatedValues:
    """Finds bars that repeat the values of earlier bars in the same order: a page stored twice, or a stuck feed.

    In markets with little trading, bars can be equal by chance, above all flat bars and bars with a small whole number
    as volume. So a single repeated bar is a flaw only if it is not flat and its volume has at least six digits;
    otherwise at least two repeated bars are needed.
    """

    _LEAST = 2
    _TELLING_DIGITS = 6
    _MEMORY = 5_000

    def __init__(self, flaws: Flaws) -> None:
        self._flaws = flaws
        self._number = 0
        # Two generations of bars: the older one is dropped regularly, which bounds the memory.
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
        """Take a bar with the same values as the bar `distance` bars before it."""
        _, high, low, _, volume = values
        if distance != self._distance:
            if high == low and distance < self._distance:
                # An equal flat bar came in between by chance: this bar does not continue the run and does not end it.
                return
            self._end()
            if high == low:
                return
            is_telling = len(f"{volume:.15g}".partition("e")[0].replace(".", "").strip("0")) >= self._TELLING_DIGITS
            self._distance, self._first, self._least = distance, at, 1 if is_telling else self._LEAST
        self._last = at
        self._rows += 1

    def finish(self) -> None:
        """End the series, and forget its bars: the next part may contain equal ones."""
        self._end()
        self._seen, self._before = {}, {}

    def _end(self) -> None:
        """End the run, and note it if it is long enough."""
        if self._rows and self._rows >= self._least:
            numbers = f"as {self._distance} rows before" if self._distance > 1 else "as the row before"
            self._flaws.note(Rule.REPEATED_VALUES, self._first, self._last, self._rows, numbers)
        self._distance = self._rows = 0


class _Jump(NamedTuple):
    """A close that differs from the one before by about a power of ten."""

    at: int
    before: float
    after: float
    power: int


class PriceUnit:
    """Finds changes of the price unit: the price changes by about a power of ten, and is steady before and after.

    A spike is not a flaw by this rule, since the price returns within a few bars.
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
        """End the series. A jump near its end counts if a few steady bars follow it."""
        if self._jump is not None and self._calm >= self._CALM_BEFORE:
            self._tell(self._jump)
        self._jump = self._close = None
        self._calm = 0

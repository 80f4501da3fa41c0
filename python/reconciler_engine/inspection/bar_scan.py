"""Scan the bars of a series, block by block, and apply every rule about values, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from operator import itemgetter, le

from reconciler_engine.inspection.flaws import Flaws, Rule
from reconciler_engine.inspection.sequence_rules import PriceUnit, RepeatedValues, Run, Values
from reconciler_engine.inspection.volume_unit import VolumeUnit

_FLAT_ROWS = 20
_Row = tuple[int, float, float, float, float, float]


class BarScan:
    """Applies the rules to the bars of one series.

    Rows of a block may be in any order. Rows with the same open time are compared only within a block. If a block
    begins before the end of the previous one, the rules about sequences of bars start anew.

    Attributes:
        flaws: Flaws found so far; complete after `finish`.
    """

    def __init__(self, step: int) -> None:
        """Start a series with a grid of `step` ms."""
        self.flaws = Flaws()
        self._step = step
        self._at: int | None = None
        self._values: Values | None = None
        self._flat = Run(self.flaws, Rule.FLAT, _FLAT_ROWS)
        self._zero = Run(self.flaws, Rule.ZERO_VOLUME, 1)
        self._price = PriceUnit(self.flaws)
        self._volume = VolumeUnit(self.flaws)
        self._repeats = RepeatedValues(self.flaws)

    def add(self, times: Sequence[int], values: Sequence[Sequence[float]]) -> None:
        """Scan a block.

        Args:
            times: Open times (ms UTC).
            values: Five columns of the same length: opens, highs, lows, closes and volumes.
        """
        rows: Iterable[_Row] = zip(times, *values, strict=True)
        if not all(map(le, times, islice(times, 1, None))):
            rows = sorted(rows, key=itemgetter(0))
        self._take(rows)

    def _take(self, rows: Iterable[_Row]) -> None:
        step, at_before = self._step, self._at
        flat, zero = self._flat, self._zero
        take_price, take_volume, take_repeat = self._price.take, self._volume.take, self._repeats.take
        for at, first, high, low, last, volume in rows:
            values = (first, high, low, last, volume)
            # A single fast test passes nearly all rows. A row that fails is a flaw, and is left out of the rules below.
            if not (0.0 < low <= first <= high < math.inf and low <= last <= high and 0.0 <= volume < math.inf):
                self._note_values(at, values)
                self._note_off_grid(at)
                continue
            if at_before is not None and at <= at_before:
                if at == at_before:
                    self._repeat(at, values)
                    continue
                self.finish()
            if at % step:
                self._note_off_grid(at)
                continue
            # The row is a bar of the sequence. For speed, `take` of a run is called only if the bar may belong to one.
            at_before, self._values = at, values
            if volume:
                take_volume(at, volume)
            if not volume or zero.rows:
                zero.take(at, None if volume else 0.0)
            if high == low or flat.rows:
                flat.take(at, last if high == low and volume else None)
            take_price(at, last)
            take_repeat(at, values)
        self._at = at_before

    def finish(self) -> None:
        """End the series, or a part of it after which the rules about sequences start anew."""
        for rule in (self._flat, self._zero, self._price, self._volume, self._repeats):
            rule.finish()

    def _repeat(self, at: int, values: Values) -> None:
        """Note a row with the same open time as the one before it."""
        if values == self._values:
            self.flaws.note(Rule.REPEATED_ROW, at, at, 1)
        else:
            self.flaws.note(Rule.TWO_VALUES, at, at, 1, f"{_listed(values)}, not {_listed(self._values or ())}")

    def _note_off_grid(self, at: int) -> None:
        if at % self._step:
            self.flaws.note(Rule.OFF_GRID, at, at, 1)

    def _note_values(self, at: int, values: Values) -> None:
        """Note a row with impossible values, for the first rule that it breaks."""
        first, high, low, last, volume = values
        if not all(map(math.isfinite, values)):
            rule = Rule.NOT_A_NUMBER
        elif min(first, high, low, last) <= 0:
            rule = Rule.PRICE_NOT_ABOVE_ZERO
        elif volume < 0:
            rule = Rule.VOLUME_BELOW_ZERO
        elif high < low:
            rule = Rule.HIGH_BELOW_LOW
        else:
            rule = Rule.OUT_OF_BOUNDS
        self.flaws.note(rule, at, at, 1, _listed(values))


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:.12g}" for value in values)

"""The rules of `inspect`: each fault that a series can have, how grave it is, and the cure."""

from __future__ import annotations

from enum import Enum, StrEnum


class Severity(StrEnum):
    """How grave a fault is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


_SOURCE = "get these rows anew from their source, or leave them out"
_UNIT = "multiply the rows on one side, so that all have one unit"
_LOOK = "compare them with the exchange before use"


class Rule(Enum):
    """A rule: severity, words for the rows or slots that it strikes, and the cure."""

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
    NOT_A_CANDLE = (Severity.ERROR, "members that are not candles of the series", "replace them: `reconcile`")
    SHARED_SLOT = (Severity.ERROR, "slots with several candles", "keep one of each: `reconcile`")
    SUSPECT = (Severity.ERROR, "candles that the exchange disagrees with", "ask again: `verify`")
    CONTESTED = (Severity.ERROR, "candles repaired three times in a day", "stop the second writer; `evidence mark`")
    MISSING = (Severity.WARNING, "slots without a candle and not proved empty", "fetch them: `reconcile`, `backfill`")
    NOT_READY = (Severity.WARNING, "slots for which `ready` says no", "see `ready` for why and when")

    @property
    def label(self) -> str:
        """Its name for programs."""
        return self.name.lower()

    @property
    def severity(self) -> Severity:
        """Its severity."""
        return self.value[0]

    @property
    def what(self) -> str:
        """Plural words for the rows or slots that it strikes."""
        return self.value[1]

    @property
    def cure(self) -> str:
        """The cure, as an instruction."""
        return self.value[2]

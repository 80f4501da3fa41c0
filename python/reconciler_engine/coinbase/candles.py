"""A page of candles: the rows of an answer that can be used, and the slots of those that cannot. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log2
from operator import itemgetter
from typing import Any, cast

from reconciler_engine.coinbase.refusals import excerpt
from reconciler_engine.coinbase.wire import read_list
from reconciler_engine.errors import BadResponse
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

# Plain decimals are documented; no sign, since none of the values can be negative.
_DECIMAL = r"[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?"
_FORMS = {"start": re.compile(r"[0-9]{1,12}")} | dict.fromkeys(
    ("open", "high", "low", "close", "volume"), re.compile(_DECIMAL)
)
# The same forms for all fields of a row at once, joined by spaces, which none of them can hold: 300 rows cost 1 ms.
_row_fields: Callable[[Any], tuple[str, ...]] = itemgetter(*_FORMS)
_ROW = re.compile(" ".join(form.pattern for form in _FORMS.values()))
# "default 350, max 350" rows (documented), and one more if both ends of a range count.
_DISTINCT_LIMIT = 351
# Chance below one in a million that bars of a sparse market fall onto a coarser grid by themselves.
_COARSE_EVIDENCE_BITS = 20
# Of a finer grid's rows half or more are off this one; the least share is a third, and more than one spoilt start.
_FINER_SHARE = 3


@dataclass(frozen=True, slots=True)
class CandlePage:
    """Content of one answer about one page.

    Attributes:
        series: The series asked about.
        interval: The slots asked about, half-open (ms UTC).
        candles: Candles of those slots, ascending, one a slot. A slot without one had no trades in this answer, unless
            it is unusable; whether that proves anything is for the evidence rules.
        rows: Rows of the answer.
        outside: Distinct candles outside the interval, dropped.
        stray: Slots of rows more than one bar outside; an exchange that reads its range in any known way sends none.
        duplicates: Rows equal to an earlier one, dropped.
        oldest: Open time of the oldest candle, those outside included; None if there are none.
        newest: Open time of the newest candle, those outside included; None if there are none.
        unusable: Open times of the slots asked about of which a row is not a candle, ascending.
        unreadable: Rows without a start that can be read: each may belong to any slot.
        fault: Number of unusable rows and the fault of the first; None where all can be used.
        served_at: Time of the exchange's clock when it answered (ms UTC, whole seconds); None where it did not say.
    """

    series: Series
    interval: Interval
    candles: tuple[Candle, ...]
    rows: int
    outside: int
    stray: int
    duplicates: int
    oldest: int | None
    newest: int | None
    unusable: tuple[int, ...] = ()
    unreadable: int = 0
    fault: str | None = None
    # The time of an answer does not count in comparisons.
    served_at: int | None = field(default=None, compare=False)

    @property
    def covering(self) -> bool:
        """Whether the answer speaks about every slot asked for.

        A range is refused or served whole, never cut (measured by several clients). Stray rows show that the range
        was not read as asked, so an absent slot may only have been left out; an unreadable row may be any slot's.
        """
        return not self.stray and not self.unreadable


def parse_candles(body: bytes, series: Series, interval: Interval) -> CandlePage:
    """Read the answer to a request for the candles of `interval`, rows in any order.

    A row can be used if its six fields are documented strings, its values make a candle, its start lies on the grid,
    and no other row of its slot differs; any other row costs its own slot alone. Candles outside the interval are
    dropped and counted. An answer cannot show that its rows are another product's, since rows do not name theirs.

    Raises:
        BadResponse: The answer is not a list, or its rows are all of another time, of another timeframe, or more than
            the exchange can send. None of it is used.
        SourceUnavailable: The answer is an HTML page.
    """
    step = series.timeframe.step_ms
    # Refuse the answer as a whole where its rows show that it is another question's.
    listed = read_list(body, "candles")
    rows = _Rows(step)
    for row in listed:
        rows.take(row)
    found = rows.candles()
    if (distinct := len(listed) - rows.duplicates) > _DISTINCT_LIMIT:
        raise BadResponse(f"{distinct} candles; the exchange sends at most {_DISTINCT_LIMIT}")
    _refuse_finer(rows.off_grid, len(listed), series.timeframe)

    # A bucket on each side is tolerated: the exchange aligns the ends of a request.
    near = range(interval.start - step, interval.stop + step)
    opens = sorted(found.keys() | rows.faults.keys())
    stray = sum(instant not in near for instant in opens)
    if found and stray == len(opens):
        raise BadResponse(f"wrong dates: asked for {interval.start}..{interval.stop}, got {opens[0]}..{opens[-1]}")
    inside = [instant for instant in opens if instant in interval]
    candles = tuple(found[instant] for instant in inside if instant in found)
    _refuse_coarser(candles, inside, series.timeframe)
    return CandlePage(
        series=series,
        interval=interval,
        candles=candles,
        rows=len(listed),
        outside=len(found) - len(candles),
        stray=stray,
        duplicates=rows.duplicates,
        oldest=min(found, default=None),
        newest=max(found, default=None),
        unusable=tuple(instant for instant in inside if instant in rows.faults),
        unreadable=len(rows.unreadable),
        fault=rows.describe_faults(),
    )


class _Rows:
    """The rows of an answer so far.

    Attributes:
        faults: By open time, slots of which a row cannot be used, and why.
        unreadable: Faults of rows without a start that can be read.
        off_grid: Rows with a start between those of two slots.
        duplicates: Rows equal to an earlier one.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._candles: dict[int, Candle] = {}
        self.faults: dict[int, str] = {}
        self.unreadable: list[str] = []
        self.off_grid = 0
        self.duplicates = 0

    def take(self, row: object) -> None:
        """Take one row."""
        try:
            candle = _candle(row, self._step)
        except ValueError as fault:
            self._refuse(_start_of(row), str(fault))
            return
        twin = self._candles.setdefault(candle.timestamp, candle)
        if twin is candle:
            return
        if twin == candle:
            self.duplicates += 1
        else:
            self._refuse(candle.timestamp, f"two different candles open at {candle.timestamp}")

    def _refuse(self, start: int | None, fault: str) -> None:
        if start is None:
            self.unreadable.append(fault)
            return
        self.off_grid += start % self._step != 0
        self.faults.setdefault(start // self._step * self._step, fault)

    def candles(self) -> dict[int, Candle]:
        """Return the candles by open time; none of a slot with a fault, whichever of its rows came first."""
        return {instant: one for instant, one in self._candles.items() if instant not in self.faults}

    def describe_faults(self) -> str | None:
        """Return how many rows cannot be used, and the first fault; None if all can."""
        faults = [*self.faults.values(), *self.unreadable]
        return f"{len(faults)} row{'s' * (len(faults) > 1)} unusable, first: {faults[0]}" if faults else None


def _candle(row: object, step: int) -> Candle:
    """Return a row as a candle.

    Raises:
        ValueError: It cannot be used; says why.
    """
    try:
        fields = _row_fields(row)
        documented = _ROW.fullmatch(" ".join(fields))
    except (KeyError, TypeError):
        documented = None
    if documented is None:
        raise ValueError(_fault(row))
    start, open_, high, low, close, volume = fields
    timestamp = int(start) * 1_000
    if timestamp % step:
        raise ValueError(f"candle start {start} is off the grid of {step} ms")
    return Candle(timestamp, float(open_), float(high), float(low), float(close), float(volume))


def _start_of(row: object) -> int | None:
    """Return a row's start (ms UTC), on the grid or off it; None where it cannot be read."""
    start = cast("dict[str, object]", row).get("start") if isinstance(row, dict) else None
    return int(start) * 1_000 if isinstance(start, str) and _FORMS["start"].fullmatch(start) else None


def _fault(row: object) -> str:
    """Return the fault of a row that is not of the documented form."""
    if not isinstance(row, dict):
        return f"candle is a {type(row).__name__}, not an object"
    fields = cast("dict[str, object]", row)
    for name, form in _FORMS.items():
        value = fields.get(name)
        if not isinstance(value, str) or form.fullmatch(value) is None:
            what = "seconds" if name == "start" else "a number >= 0"
            return (
                f"candle {excerpt(str(fields.get('start')))}: {name} {excerpt(repr(value))} is not a string of {what}"
            )
    return "candle is not of the documented form"


def _refuse_finer(off_grid: int, rows: int, timeframe: Timeframe) -> None:
    """Refuse bars of a finer timeframe: one of them that lies on this grid could pass for this timeframe's bar."""
    if off_grid > 1 and off_grid * _FINER_SHARE >= rows:
        raise BadResponse(f"{off_grid} of {rows} candles are off the grid of {timeframe}")


def _refuse_coarser(candles: Sequence[Candle], opens: Sequence[int], timeframe: Timeframe) -> None:
    """Refuse bars of a coarser timeframe, which lie on this one's grid too.

    The exchange omits bars without trades, so in a sparse market a few bars may lie on the coarser grid by chance, and
    many if somebody trades by the clock. Bars made of several trades (high above low) whose neighbours all had not one
    are neither: that is another timeframe's answer.
    """
    busy = sum(candle.high > candle.low for candle in candles)
    if 2 * busy <= len(candles):
        return
    for coarser in reversed(Timeframe):
        ratio = coarser.step_ms / timeframe.step_ms
        if (
            ratio > 1
            and len(candles) * log2(ratio) >= _COARSE_EVIDENCE_BITS
            and all(instant % coarser.step_ms == 0 for instant in opens)
        ):
            raise BadResponse(f"{len(candles)} candles of {timeframe} all lie on the grid of {coarser}")

"""Parses a page of candles: usable rows become candles, unusable rows are noted by slot. Pure."""

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

# Decimals as documented, without a sign: no value can be negative.
_DECIMAL = r"[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?"
_FORMS = {"start": re.compile(r"[0-9]{1,12}")} | dict.fromkeys(
    ("open", "high", "low", "close", "volume"), re.compile(_DECIMAL)
)
# One pattern for all fields of a row, joined by spaces, which no field can contain: it checks 300 rows in 1 ms.
_row_fields: Callable[[Any], tuple[str, ...]] = itemgetter(*_FORMS)
_ROW = re.compile(" ".join(form.pattern for form in _FORMS.values()))
# Documented are at most 350 rows; an answer may have one more if both ends of a range are included.
_DISTINCT_LIMIT = 351
# 20 bits: the chance that bars of a sparse market are all on a coarser grid is below one in a million.
_COARSE_EVIDENCE_BITS = 20
# Half or more of a finer timeframe's rows are off this grid. A third of the rows, and at least two, are enough to
# refuse an answer.
_FINER_SHARE = 3


@dataclass(frozen=True, slots=True)
class CandlePage:
    """The content of one answer to a page request.

    Attributes:
        series: Series that was asked for.
        interval: Slots that were asked for, half-open (ms UTC).
        candles: Candles of these slots, ascending, one for each slot at most. For a slot without a candle that is not
            in `unusable`, the answer reports no trades; `planning` decides whether that proves anything.
        rows: Number of rows in the answer.
        outside: Number of distinct candles outside the interval, which were dropped.
        stray: Number of slots with rows that are more than one bar outside the interval; they show that the exchange
            did not use the range that was asked for.
        duplicates: Number of rows equal to an earlier row, which were dropped.
        oldest: Open time of the oldest candle, including candles outside the interval; None if there are no candles.
        newest: Open time of the newest candle, including candles outside the interval; None if there are no candles.
        unusable: Open times of slots in the interval with an unusable row, ascending.
        unreadable: Number of rows whose start cannot be read; each of them may belong to any slot.
        fault: Number of unusable rows, and the mistake in the first; None if all rows are usable.
        served_at: Time of the answer by the exchange's clock (ms UTC, whole seconds); None if the answer had no date.
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
    # Pages are equal even if they were served at different times.
    served_at: int | None = field(default=None, compare=False)

    @property
    def covering(self) -> bool:
        """Whether a slot without a row means that the exchange has no candle for it.

        The exchange serves a range as a whole or refuses it (measured by several clients). Stray rows show that it used
        another range, so that it may have left out candles; an unreadable row may belong to any slot.
        """
        return not self.stray and not self.unreadable


def parse_candles(body: bytes, series: Series, interval: Interval) -> CandlePage:
    """Parse the answer to a request for the candles of `interval`; rows may be in any order.

    A row is usable if its six fields have the documented form, its values make a candle, its start is on the grid, and
    all rows of its slot are equal. An unusable row affects only its own slot. Candles outside the interval are counted
    and dropped. Rows of another product cannot be noticed, because rows do not name their product.

    Raises:
        BadResponse: The answer as a whole is unusable: it is not a list, all rows are outside the interval, the rows
            are of another timeframe, or there are more rows than the exchange can send.
        SourceUnavailable: The answer is an HTML page.
    """
    step = series.timeframe.step_ms
    # Refuse the whole answer if its rows show that it belongs to another request.
    listed = read_list(body, "candles")
    rows = _Rows(step)
    for row in listed:
        rows.take(row)
    found = rows.candles()
    if (distinct := len(listed) - rows.duplicates) > _DISTINCT_LIMIT:
        raise BadResponse(f"{distinct} candles; the exchange sends at most {_DISTINCT_LIMIT}")
    _refuse_finer(rows.off_grid, len(listed), series.timeframe)

    # Tolerate one bar on each side, because the exchange aligns the ends of a range to its grid.
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
    """Collects the rows of an answer.

    Attributes:
        faults: By open time of the slot, why a row of it is unusable.
        unreadable: For each row whose start cannot be read, why.
        off_grid: Number of rows with a start off the grid.
        duplicates: Number of rows equal to an earlier row.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._candles: dict[int, Candle] = {}
        self.faults: dict[int, str] = {}
        self.unreadable: list[str] = []
        self.off_grid = 0
        self.duplicates = 0

    def take(self, row: object) -> None:
        """Add one row, as a candle, a duplicate or an unusable row."""
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
        """Return the candles by open time, except for slots that have an unusable row."""
        return {instant: one for instant, one in self._candles.items() if instant not in self.faults}

    def describe_faults(self) -> str | None:
        """Return a sentence with the number of unusable rows and the first mistake, or None if there are none."""
        faults = [*self.faults.values(), *self.unreadable]
        return f"{len(faults)} row{'s' * (len(faults) > 1)} unusable, first: {faults[0]}" if faults else None


def _candle(row: object, step: int) -> Candle:
    """Return a row as a candle.

    Raises:
        ValueError: The row is unusable; the message says why.
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
    """Return a row's start (ms UTC), on the grid or off it; None if it cannot be read."""
    start = cast("dict[str, object]", row).get("start") if isinstance(row, dict) else None
    return int(start) * 1_000 if isinstance(start, str) and _FORMS["start"].fullmatch(start) else None


def _fault(row: object) -> str:
    """Return why a row does not have the documented form."""
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
    """Refuse bars of a finer timeframe: those that are also on this grid could pass for bars of this timeframe."""
    if off_grid > 1 and off_grid * _FINER_SHARE >= rows:
        raise BadResponse(f"{off_grid} of {rows} candles are off the grid of {timeframe}")


def _refuse_coarser(candles: Sequence[Candle], opens: Sequence[int], timeframe: Timeframe) -> None:
    """Refuse bars of a coarser timeframe, which are on the grid of `timeframe` too.

    The exchange omits bars without trades. So in a sparse market a few bars may be on the coarser grid by chance, or
    many if somebody trades at regular times. If, however, most bars have several trades (high above low) while all bars
    between them have none, the answer is of the coarser timeframe.
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

"""A page of candles, as an answer of the exchange that passed every check. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log2
from operator import itemgetter
from typing import Any, cast

from reconciler_engine.coinbase.refusals import excerpt
from reconciler_engine.coinbase.wire import read_object
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


@dataclass(frozen=True, slots=True)
class CandlePage:
    """What one answer said about one page.

    Attributes:
        series: The series asked about.
        interval: The slots asked about, half-open (ms UTC).
        candles: Candles of those slots, ascending, one a slot. A slot without one had no trades in this answer;
            whether that proves anything is for the evidence rules.
        rows: Rows of the answer.
        outside: Distinct rows outside the interval, dropped.
        stray: Those of them that are more than one bar outside; an exchange that reads its range in any known way
            sends none.
        duplicates: Rows equal to an earlier one, dropped.
        oldest: Open time of the oldest row, those outside included; None if there are no rows.
        newest: Open time of the newest row, those outside included; None if there are no rows.
        served_at: What the exchange's clock showed when it answered (ms UTC, whole seconds); None where it did not say.
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
    # When it was said is no part of what was said.
    served_at: int | None = field(default=None, compare=False)

    @property
    def covering(self) -> bool:
        """Whether the answer speaks about every slot asked for.

        A range is refused or served whole, never cut (measured by several clients). Stray rows show that the range
        was not read as asked, so an absent slot may only have been left out.
        """
        return self.stray == 0


def parse_candles(body: bytes, series: Series, interval: Interval) -> CandlePage:
    """Read the answer to a request for the candles of `interval`, rows in any order.

    Rows outside the interval are dropped and counted. What cannot be known from an answer: whether its rows are
    another product's, since rows do not name theirs.

    Raises:
        BadResponse: A row is not what is documented (six fields, all of them strings), is off the grid, is no possible
            candle, contradicts another; all rows are of another time, of a coarser timeframe, or more than the
            exchange can send. None of the answer is used.
        SourceUnavailable: The answer is an HTML page.
    """
    rows = _rows(body)
    step = series.timeframe.step_ms
    distinct: dict[int, Candle] = {}
    for row in rows:
        candle = _candle(row, step)
        twin = distinct.setdefault(candle.timestamp, candle)
        if twin is not candle and twin != candle:
            raise BadResponse(f"two different candles open at {candle.timestamp}")
    if len(distinct) > _DISTINCT_LIMIT:
        raise BadResponse(f"{len(distinct)} candles; the exchange sends at most {_DISTINCT_LIMIT}")

    near = range(interval.start - step, interval.stop + step)
    stray = sum(instant not in near for instant in distinct)
    if stray and stray == len(distinct):
        raise BadResponse(
            f"wrong dates: asked for {interval.start}..{interval.stop}, got {min(distinct)}..{max(distinct)}"
        )
    candles = tuple(distinct[instant] for instant in sorted(distinct) if instant in interval)
    _refuse_coarser(candles, series.timeframe)
    return CandlePage(
        series=series,
        interval=interval,
        candles=candles,
        rows=len(rows),
        outside=len(distinct) - len(candles),
        stray=stray,
        duplicates=len(rows) - len(distinct),
        oldest=min(distinct, default=None),
        newest=max(distinct, default=None),
    )


def _rows(body: bytes) -> list[object]:
    answer = read_object(body)
    rows = answer.get("candles")
    if not isinstance(rows, list):
        raise BadResponse(f"no list of candles: {excerpt(body)}")
    return cast("list[object]", rows)


def _candle(row: object, step: int) -> Candle:
    try:
        fields = _row_fields(row)
        documented = _ROW.fullmatch(" ".join(fields))
    except (KeyError, TypeError):
        documented = None
    if documented is None:
        raise BadResponse(_fault(row))
    start, open_, high, low, close, volume = fields
    timestamp = int(start) * 1_000
    if timestamp % step:
        raise BadResponse(f"candle start {start} is off the grid of {step} ms")
    try:
        return Candle(timestamp, float(open_), float(high), float(low), float(close), float(volume))
    except ValueError as error:
        raise BadResponse(str(error)) from error


def _fault(row: object) -> str:
    """Return what is wrong with a row that is not of the documented form."""
    if not isinstance(row, dict):
        return f"candle is a {type(row).__name__}, not an object"
    fields = cast("dict[str, object]", row)
    for name, form in _FORMS.items():
        value = fields.get(name)
        if not isinstance(value, str) or form.fullmatch(value) is None:
            what = "seconds" if name == "start" else "a number >= 0"
            return f"candle {excerpt(str(fields.get('start')))}: {name} {excerpt(repr(value))} is no string of {what}"
    return "candle is not of the documented form"


def _refuse_coarser(candles: tuple[Candle, ...], timeframe: Timeframe) -> None:
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
            and all(candle.timestamp % coarser.step_ms == 0 for candle in candles)
        ):
            raise BadResponse(f"{len(candles)} candles of {timeframe} all lie on the grid of {coarser}")

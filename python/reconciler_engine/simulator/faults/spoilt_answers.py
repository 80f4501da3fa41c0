"""Answers spoilt by faults: error statuses, wrong shapes, wrong rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.api_response import TOO_MANY_ERRORS, UNAUTHORIZED, ApiResponse, refuse
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.simulator.prices.market import Market

Row = dict[str, Any]

_HTML = (("content-type", "text/html; charset=UTF-8"),)
_CHALLENGE = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
    b"<body><p>Checking your browser before accessing the site.</p></body></html>"
)
_SURPLUS_ROWS = 400
_TIMEFRAMES = {timeframe.granularity: timeframe for timeframe in Timeframe}


def _replace_status(rule: FaultRule) -> ApiResponse:
    """Return the 5xx answer that a `status` rule sets."""
    status = HTTPStatus(int(rule.number("status")))
    if rule.text("body") == "json":
        return refuse(status, "INTERNAL", status.phrase)
    if rule.text("body") == "empty":
        return ApiResponse(status)
    return ApiResponse(status, f"<html><body><h1>{status} {status.phrase}</h1></body></html>".encode(), _HTML)


REPLACED: Mapping[str, Callable[[FaultRule], ApiResponse]] = MappingProxyType(
    {
        "blocked": lambda _: TOO_MANY_ERRORS,
        "unauthorized": lambda _: UNAUTHORIZED,
        "status": _replace_status,
        # The page by which the CDN checks the browser.
        "challenge": lambda rule: ApiResponse(
            int(rule.number("status")), _CHALLENGE, (*_HTML, ("cf-mitigated", "challenge"))
        ),
    }
)
"""By mode: the answer that replaces the right one."""


def spoil_gzip(answer: ApiResponse) -> ApiResponse:
    """Return the answer with a header that declares gzip and a body that is not valid gzip."""
    return replace(
        answer, body=b"\x1f\x8b\x08\x00" + answer.body[:64], headers=(*answer.headers, ("content-encoding", "gzip"))
    )


def spoil_shape(rule: FaultRule, answer: ApiResponse, query: Mapping[str, str]) -> ApiResponse:
    """Return a candle answer as valid JSON of a wrong shape; shapes of a row do not change an answer without rows."""
    shape = rule.text("shape")
    if shape in BODIES:
        return _rewrite(answer, BODIES[shape])
    rows: list[Row] = json.loads(answer.body)["candles"]
    count, nth = int(rule.number("rows")), int(rule.number("nth"))
    if nth:
        chosen = [row for row in rows if _is_nth(row, nth, _TIMEFRAMES[query["granularity"]])][:count]
    else:
        middle = max(0, (len(rows) - count + 1) // 2)
        chosen = rows[middle : middle + count]
    spoilt = [each for row in rows for each in (ROWS[shape](row) if row in chosen else [row])]
    return _rewrite(answer, {"candles": spoilt}, len(spoilt))


def _is_nth(row: Row, nth: int, timeframe: Timeframe) -> bool:
    return int(row["start"]) * 1_000 // timeframe.step_ms % nth == 0


BODIES: Mapping[str, object] = {"object": {}, "null": {"candles": None}, "list": []}
"""By name: wrong shapes of a whole answer."""

ROWS: Mapping[str, Callable[[Row], list[Row]]] = {
    "missing_field": lambda row: [{name: value for name, value in row.items() if name != "close"}],
    "null_field": lambda row: [{**row, "close": None}],
    "number": lambda row: [{**row, "open": float(row["open"])}],
    "empty_text": lambda row: [{**row, "high": ""}],
    "nan": lambda row: [{**row, "low": "NaN"}],
    "infinity": lambda row: [{**row, "high": "Infinity"}],
    "long_digits": lambda row: [{**row, "high": "9" * 60 + row["high"]}],
    "negative_volume": lambda row: [{**row, "volume": f"-{row['volume']}"}],
    "zero_price": lambda row: [{**row, "low": "0"}],
    "low_above_open": lambda row: [{**row, "open": str(Decimal(row["low"]) / 2)}],
    "close_above_high": lambda row: [{**row, "close": str(Decimal(row["high"]) * 2)}],
    "inverted": lambda row: [{**row, "high": row["low"], "low": str(Decimal(row["high"]) + 1)}],
    "unaligned": lambda row: [{**row, "start": str(int(row["start"]) + 1)}],
    "unreadable_start": lambda row: [{**row, "start": "soon"}],
    "twins": lambda row: [row, _revise(row)],
}
"""By name: functions that spoil one row. In order: a field is missing; a price is null, a number, empty, `"NaN"`,
`"Infinity"`, 60 digits too long; the volume is negative; a price is 0; the open is below the low; the close is above
the high; the high is below the low; the start is off the grid; the start is not a number; the slot has a second row
with other values."""


def spoil_data(
    rule: FaultRule, answer: ApiResponse, market: Market, symbol: str, query: Mapping[str, str], now: int
) -> ApiResponse:
    """Return a candle answer with wrong rows, a key of `DATA`.

    Args:
        rule: Rule with the key and its settings.
        answer: The right answer.
        market: Source of wrong rows.
        symbol: Product asked for.
        query: Query of the request, already validated.
        now: Time of the exchange (ms UTC).
    """
    case = _Case(rule, json.loads(answer.body)["candles"], market, symbol, _TIMEFRAMES[query["granularity"]], now)
    spoilt = DATA[rule.text("data")](case)
    return _rewrite(answer, {"candles": spoilt}, len(spoilt))


@dataclass(frozen=True, slots=True)
class _Case:
    """A candle answer to spoil: the right rows, newest first, and the market to read wrong rows from."""

    rule: FaultRule
    rows: list[Row]
    market: Market
    symbol: str
    timeframe: Timeframe
    now: int

    @property
    def then(self) -> int:
        """The instant `seconds` of the rule before now (ms UTC)."""
        return self.now - round(self.rule.number("seconds") * 1000)

    def count(self, setting: str) -> int:
        """Return a setting of the rule as an integer."""
        return int(self.rule.number(setting))

    def close_before(self, instant: int) -> list[Row]:
        """Return the rows that had closed at an instant (ms UTC)."""
        return [row for row in self.rows if int(row["start"]) * 1000 + self.timeframe.step_ms <= instant]

    def extend(self, count: int) -> list[Row]:
        """Return the rows and, after them, the rows of the `count` slots before the oldest."""
        oldest = int(self.rows[-1]["start"]) * 1000 if self.rows else self.timeframe.floor(self.now)
        return self.rows + self.read(Interval(oldest - count * self.timeframe.step_ms, oldest))

    def make_stale(self) -> list[Row]:
        """Return the rows, the still open candle as it stood `seconds` of the rule ago."""
        closed = self.close_before(self.now)
        if len(closed) == len(self.rows):
            return closed
        opened = self.timeframe.floor(self.now)
        return self.read(Interval(opened, opened + 1), now=self.then) + closed

    def revise(self) -> list[Row]:
        """Return the rows, with other values for the newest closed candles (`rows` of the rule)."""
        changed = self.close_before(self.now)[: self.count("rows")]
        return [_revise(row) if row in changed else row for row in self.rows]

    def take_granularity(self) -> list[Row]:
        """Return rows of the next longer timeframe in the same span; for daily rows, of the next shorter timeframe."""
        others = list(Timeframe)
        position = others.index(self.timeframe) + 1
        return self.read(self.span, timeframe=others[position if position < len(others) else -2])

    @property
    def span(self) -> Interval:
        """Open times of the rows, from the oldest to the newest (ms UTC)."""
        if not self.rows:
            return Interval(0, 0)
        return Interval(int(self.rows[-1]["start"]) * 1000, int(self.rows[0]["start"]) * 1000 + 1)

    def read(
        self,
        interval: Interval,
        *,
        symbol: str | None = None,
        timeframe: Timeframe | None = None,
        now: int | None = None,
    ) -> list[Row]:
        """Return rows of the market, newest first; defaults are the case's symbol, timeframe and time."""
        found = self.market.rows(symbol or self.symbol, timeframe or self.timeframe, interval, now or self.now)
        return [json.loads(row) for row in reversed(found)]


DATA: Mapping[str, Callable[[_Case], list[Row]]] = {
    "empty": lambda _: [],
    "duplicate": lambda case: [*case.rows[:1], *case.rows],
    "conflict": lambda case: [*map(_revise, case.rows[:1]), *case.rows],
    "shuffled": lambda case: case.rows[1::2] + case.rows[::2],
    "outside": lambda case: case.extend(case.count("rows")),
    "surplus": lambda case: case.extend(max(0, _SURPLUS_ROWS - len(case.rows))),
    "stale": _Case.make_stale,
    "revised": _Case.revise,
    "late": lambda case: case.close_before(case.then),
    "past": lambda case: case.read(case.span, now=case.then),
    "thinned": lambda case: [row for row in case.rows if not _is_nth(row, case.count("nth"), case.timeframe)],
    "granularity": _Case.take_granularity,
    "product": lambda case: case.read(
        case.span, symbol=next((one for one in case.market.products if one != case.symbol), None)
    ),
}
"""By name: functions that return wrong rows. In order: no rows; one row twice, with the same values; one row twice,
with other values; rows out of order; rows before `start`; more rows than a page holds; the open candle as it stood
`seconds` ago; closed candles with other values; no candle that closed less than `seconds` ago; all rows as they stood
`seconds` ago; no row for every `nth` slot; rows of another granularity; rows of another product."""


def _revise(row: Row) -> Row:
    """Return a valid candle of the same slot with another close and volume."""
    return {**row, "close": row["low"], "volume": str(Decimal(row["volume"]) * 2)}


def _rewrite(answer: ApiResponse, content: object, rows: int | None = None) -> ApiResponse:
    body = json.dumps(content, separators=(",", ":")).encode()
    return replace(answer, body=body, rows=answer.rows if rows is None else rows)

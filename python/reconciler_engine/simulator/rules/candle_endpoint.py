"""The candle endpoint: checks a query and returns its rows or a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.api_response import (
    UNKNOWN_PRODUCT,
    ApiResponse,
    give_json,
    refuse,
    refuse_argument,
    refuse_integer,
)
from reconciler_engine.simulator.prices.market import Market

_TIMEFRAMES = {timeframe.granularity: timeframe for timeframe in Timeframe}
_UNSET = "UNKNOWN_GRANULARITY"
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_INSTANT = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class CandleRules:
    """How the exchange treats candle queries where its documentation is silent.

    Attributes:
        span_limit: Most candles that may open from `start` to `end`, both included; the refusal always says 350.
        page_limit: Most rows of one answer; also the number of candles of a query without `start`.
        end_inclusive: Whether the answer has the candle that opens at `end`.
        covers_start: Whether the answer has the candle that opened before `start` and contains it.
        forming: Whether the answer has the still open candle.

    Raises:
        ValueError: A limit is less than 1.
    """

    span_limit: int = 350
    page_limit: int = 350
    end_inclusive: bool = True
    covers_start: bool = False
    forming: bool = True

    def __post_init__(self) -> None:
        for name in ("span_limit", "page_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)!r} is less than 1")


_SAID_LIMIT = 350


def answer_candles(market: Market, rules: CandleRules, symbol: str, query: Mapping[str, str], now: int) -> ApiResponse:
    """Return the candles of a query, newest first, or the exchange's refusal.

    Checks in the exchange's order: syntax, allowed values, then whether the product exists. Some behaviour of the
    exchange is unknown (coinbase-api.md sections 1 and 2); there we chose: without `end` the window ends now; without
    `start` it begins `page_limit` candles before its end; a `start` after `end`, or a `start` or `end` that is not a
    number, is an invalid argument; a `limit` above `page_limit` is lowered to `page_limit`.

    Args:
        market: Source of the candles.
        rules: How to treat the query.
        symbol: The product id in the path.
        query: First value of each key; unknown keys are ignored.
        now: Time of the exchange (ms UTC).
    """
    try:
        timeframe, limit = _read_shape(query, rules)
        start_s, end_s = _read_window(query, rules, timeframe, now)
    except _RefusedError as refused:
        return refused.answer
    if symbol not in market.products:
        return UNKNOWN_PRODUCT
    first_s = start_s - start_s % (timeframe.step_ms // 1000) if rules.covers_start else start_s
    stop_s = end_s + 1 if rules.end_inclusive else end_s
    if not rules.forming:
        stop_s = min(stop_s, timeframe.floor(now) // 1000)
    if stop_s <= first_s:
        return give_json('{"candles":[]}', 0)
    rows = market.rows(symbol, timeframe, Interval(first_s * 1000, stop_s * 1000), now)
    kept = rows[-limit:]
    kept.reverse()
    return give_json(f'{{"candles":[{",".join(kept)}]}}', len(kept))


class _RefusedError(Exception):
    """A query is refused; carries the answer to send."""

    def __init__(self, answer: ApiResponse) -> None:
        self.answer = answer
        super().__init__(answer.status)


def _read_shape(query: Mapping[str, str], rules: CandleRules) -> tuple[Timeframe, int]:
    """Return the timeframe and the most rows to return; values that cannot be parsed are refused first."""
    name = query.get("granularity", "")
    timeframe = _TIMEFRAMES.get(name)
    if timeframe is None and name not in {_UNSET, ""}:
        details = f'parsing field "granularity": "{name}" is not a valid value'
        raise _RefusedError(refuse(HTTPStatus.BAD_REQUEST, "unknown", details))
    text = query.get("limit", "")
    if text and _INTEGER.fullmatch(text) is None:
        raise _RefusedError(refuse_integer("limit", text))
    if timeframe is None:
        raise _RefusedError(refuse_argument("granularity argument is invalid "))
    limit = int(text or 0)
    return timeframe, min(limit, rules.page_limit) if limit > 0 else rules.page_limit


def _read_window(query: Mapping[str, str], rules: CandleRules, timeframe: Timeframe, now: int) -> tuple[int, int]:
    """Return start and end (seconds UTC), or refuse them for their syntax, order or distance."""
    for field in ("start", "end"):
        if query.get(field) and _INSTANT.fullmatch(query[field]) is None:
            raise _RefusedError(refuse_argument(f"{field} argument is invalid "))
    step_s = timeframe.step_ms // 1000
    end_s = int(query.get("end") or now // 1000)
    start_s = int(query.get("start") or max(0, end_s - rules.page_limit * step_s + 1))
    if start_s > end_s:
        raise _RefusedError(refuse_argument("start and end argument is invalid "))
    # Candles that open from start to end, both included.
    if end_s // step_s - ceil_div(start_s, step_s) + 1 > rules.span_limit:
        asked = f"number of candles requested should be less than {_SAID_LIMIT}"
        raise _RefusedError(refuse_argument(f"start and end argument is invalid - {asked} "))
    return start_s, end_s

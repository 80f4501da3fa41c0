"""The exchange's wire format: paths and queries of requests, JSON of answers. Pure.

Facts about the exchange are from its documentation (Get Product Candles, Get Server Time, read 2026-11-23) unless a
comment states another source.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import cast

from reconciler_engine.coinbase.refusals import excerpt, is_html
from reconciler_engine.errors import BadResponse, SourceUnavailable
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import check_symbol
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS

TIME_PATH = "/api/v3/brokerage/time"

_DIGITS = re.compile(r"[0-9]{1,16}")
# Most digits of any number that is used.
_INTEGER_DIGITS = 20
# Plausible instants, from 2001 to 2286: a number outside this range is in another unit.
_EPOCH_MS = range(10**12, 10**13)


def candles_path(symbol: str, *, authenticated: bool = False) -> str:
    """Return the URL path of the candles of `symbol`.

    Raises:
        ValueError: `symbol` is not a product id.
    """
    market = "" if authenticated else "market/"
    return f"/api/v3/brokerage/{market}products/{check_symbol(symbol)}/candles"


def candles_query(timeframe: Timeframe, interval: Interval) -> dict[str, str]:
    """Return the query for exactly the slots of `interval`.

    `end` is the last second before `stop`, so that the query selects the same slots whether or not the exchange
    includes `end` (undocumented; evidence conflicts).

    Raises:
        ValueError: The interval is empty, off the timeframe's grid, starts before 1970, or has more than `PAGE_SLOTS`
            slots, which the exchange would refuse.
    """
    step = timeframe.step_ms
    if interval.start % step or interval.stop % step or interval.start < 0:
        raise ValueError(
            f"page {interval.start}..{interval.stop} is off the grid of {timeframe}; allowed: multiples of {step} ms"
        )
    slots = (interval.stop - interval.start) // step
    if not 1 <= slots <= PAGE_SLOTS:
        raise ValueError(f"page of {slots} slots of {timeframe}; allowed: 1 to {PAGE_SLOTS}")
    return {
        "start": str(interval.start // 1_000),
        "end": str(interval.stop // 1_000 - 1),
        "granularity": timeframe.granularity,
    }


def parse_time(body: bytes) -> int:
    """Return the exchange's time (ms UTC) from the answer of `TIME_PATH`.

    The exchange sends the numbers as strings, its own SDK has them as integers; both are accepted.

    Raises:
        BadResponse: The answer lacks `epochSeconds` or `epochMillis`, or the two differ.
        SourceUnavailable: The answer is an HTML page.
    """
    answer = read_object(body)
    millis = _epoch(answer, "epochMillis")
    seconds = _epoch(answer, "epochSeconds")
    if millis not in _EPOCH_MS:
        raise BadResponse(f"epochMillis {millis} is not an instant in ms")
    if millis // 1_000 != seconds:
        raise BadResponse(f"epochMillis {millis} and epochSeconds {seconds} are different instants")
    return millis


def read_object(body: bytes) -> dict[str, object]:
    """Parse a body that is a JSON object.

    Raises:
        BadResponse: The body is empty, truncated, not UTF-8, nested too deeply or not an object, or an object in it has
            the same field twice.
        SourceUnavailable: The body is an HTML page, whatever its status and content type.
    """
    if is_html(body):
        raise SourceUnavailable(f"an HTML page instead of JSON: {excerpt(body)}")
    if not body:
        raise BadResponse("empty body")
    try:
        answer: object = json.loads(body.decode(), object_pairs_hook=_fields, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise BadResponse(f"no JSON in {len(body)} bytes: {excerpt(body)}") from error
    if not isinstance(answer, dict):
        raise BadResponse(f"JSON is a {type(answer).__name__}, not an object")
    return cast("dict[str, object]", answer)


def read_list(body: bytes, name: str) -> list[object]:
    """Parse a body that is a JSON object, and return the list in its field `name`.

    Raises:
        BadResponse: The body has no such list, or `read_object` refuses it.
        SourceUnavailable: The body is an HTML page.
    """
    rows = read_object(body).get(name)
    if not isinstance(rows, list):
        raise BadResponse(f"no list of {name}: {excerpt(body)}")
    return cast("list[object]", rows)


def _whole(digits: str) -> float:
    # int() raises for over 4,300 digits, which would refuse the whole answer, including its good rows.
    return int(digits) if len(digits) <= _INTEGER_DIGITS else float(digits)


def _fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        # json.loads would keep only the last one; an empty list after a full one would then look like "no trades".
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise BadResponse(f"field {excerpt(repr(twice))} occurs twice in an object")
    return fields


def _epoch(answer: dict[str, object], field: str) -> int:
    value = answer.get(field)
    # bool is a subclass of int, but not an instant.
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if _DIGITS.fullmatch(text) is None:
        raise BadResponse(f"{field} {excerpt(repr(value))} is not a whole number of at most 16 digits")
    return int(text)

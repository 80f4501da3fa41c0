"""The exchange's shapes: the parts of a URL, and the forms of a body. Pure.

Facts about the exchange are from its documentation (Get Product Candles, Get Server Time, read 2026-11-23)
unless a line says otherwise.
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
# No number that is read has more.
_INTEGER_DIGITS = 20
# Instants the exchange can mean, from 2001 to 2286: outside them a number is in another unit.
_EPOCH_MS = range(10**12, 10**13)


def candles_path(symbol: str, *, authenticated: bool = False) -> str:
    """Return the URL path that serves the candles of `symbol`.

    Raises:
        ValueError: `symbol` is not a product id.
    """
    market = "" if authenticated else "market/"
    return f"/api/v3/brokerage/{market}products/{check_symbol(symbol)}/candles"


def candles_query(timeframe: Timeframe, interval: Interval) -> dict[str, str]:
    """Return the query that asks for the slots of `interval`, and for no other.

    `end` is the last second before `stop`: the same slots are asked for whether the exchange includes its `end`
    (undocumented, evidence conflicts) or not.

    Raises:
        ValueError: The interval is empty, off the timeframe's grid, before 1970, or spans more than `PAGE_SLOTS`
            slots, which the exchange would refuse as a whole.
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
    """Return the exchange's clock (ms UTC) from the answer of `TIME_PATH`.

    The epochs are strings on the wire and integers in the exchange's own SDK; both are read.

    Raises:
        BadResponse: The answer is not `{"epochSeconds", "epochMillis"}` with instants that agree.
        SourceUnavailable: It is an HTML page.
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
    """Return the JSON object that `body` is.

    Raises:
        BadResponse: It is empty, truncated, not UTF-8, nested too deep, or not an object; or an object in it has a
            field twice.
        SourceUnavailable: It is an HTML page, even under another status or content type.
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
    """Return the list under a name in the JSON object that `body` is.

    Raises:
        BadResponse: There is none, or the object is not as `read_object` takes it.
        SourceUnavailable: It is an HTML page.
    """
    rows = read_object(body).get(name)
    if not isinstance(rows, list):
        raise BadResponse(f"no list of {name}: {excerpt(body)}")
    return cast("list[object]", rows)


def _whole(digits: str) -> float:
    # Of more than 4,300 digits int() makes no number but an error, which would refuse the good rows beside it.
    return int(digits) if len(digits) <= _INTEGER_DIGITS else float(digits)


def _fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        # The last one would count, and an empty list after a full one would prove that nothing was traded.
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise BadResponse(f"field {excerpt(repr(twice))} stands twice in an object")
    return fields


def _epoch(answer: dict[str, object], field: str) -> int:
    value = answer.get(field)
    # bool is an int to isinstance, and no instant.
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if _DIGITS.fullmatch(text) is None:
        raise BadResponse(f"{field} {excerpt(repr(value))} is not a count since the epoch")
    return int(text)

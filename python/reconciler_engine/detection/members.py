"""Which members of a candle cache key are candles of its series.

A member is a candle of a series if it is a JSON object (UTF-8) whose `symbol` and `timeframe` are those of
the series, whose `timestamp` is a whole number equal to the member's score, and whose `open`, `high`, `low`,
`close` and `volume` are finite numbers. Other keys are allowed. All is read as `JSON.parse` does, since the
cache's readers do so: of repeated keys the last counts, every number is a double, 1e999 is infinite. Objects
and arrays may be nested 64 levels deep.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from reconciler_engine.detection.gaps import readonly
from reconciler_engine.detection.implementation import IMPLEMENTATION
from reconciler_engine.detection.inputs import INT64_MAX, INT64_MIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_DEPTH: Final = 64

_NUMBERS = ("open", "high", "low", "close", "volume")
_SCORE = re.compile(rb"-?inf|[-+.0-9eE]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Members(NamedTuple):
    """What the members of a reply are.

    Attributes:
        timestamps: Open times of the candles (int64, ms UTC), ascending, repeated where candles share one.
        duplicates: Open times that two or more candles share, each once, ascending (int64, ms UTC).
        malformed: Scores of the members that are no candles of the series, one each, rounded down (int64).
    """

    timestamps: memoryview[int]
    duplicates: memoryview[int]
    malformed: memoryview[int]


def check_members_pure(reply: list[bytes], symbol: str, timeframe: str) -> Members:
    """Sort the members of a reply, in plain Python; see `check_members`."""
    if len(reply) % 2:
        raise ValueError(f"reply has {len(reply)} items; it must alternate members and scores (WITHSCORES)")
    timestamps, duplicates, malformed = array("q"), array("q"), array("q")
    last = -math.inf
    for index in range(0, len(reply), 2):
        member, printed = _item(reply, index), _item(reply, index + 1)
        try:
            score = parse_score(printed)
        except ValueError:
            raise ValueError(f"reply[{index + 1}] is {printed!r}: the score is no number") from None
        if score < last:
            raise ValueError(f"reply[{index + 1}] is {printed!r}: the score is below the one before it")
        last = score
        floored = _floored(score)
        if explain_member(member, printed, symbol, timeframe) is not None:
            malformed.append(floored)
            continue
        if timestamps and timestamps[-1] == floored and (not duplicates or duplicates[-1] != floored):
            duplicates.append(floored)
        timestamps.append(floored)
    return Members(readonly(timestamps), readonly(duplicates), readonly(malformed))


def explain_member(member: bytes, score: bytes, symbol: str, timeframe: str) -> str | None:
    """Say why `member` is no candle of the series, or return None if it is one.

    Raises:
        ValueError: `score` is no number.
    """
    open_time = parse_score(score)
    if not (math.isfinite(open_time) and open_time.is_integer() and INT64_MIN <= open_time < -INT64_MIN):
        return f"score {score.decode()} is no whole number of milliseconds within int64"
    try:
        text = member.decode("utf-8")
    except UnicodeDecodeError as refusal:
        return f"not UTF-8 at byte {refusal.start}"
    if _depth(text) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels"
    try:
        candle = json.loads(text, parse_int=float, parse_constant=_refuse_constant)
    except ValueError as refusal:
        return f"not JSON: {refusal}"
    if not isinstance(candle, dict):
        return "JSON, but no object"
    return _explain_fields(candle, open_time, symbol, timeframe)


def _explain_fields(candle: dict[str, object], open_time: float, symbol: str, timeframe: str) -> str | None:
    for field, wanted in (("symbol", symbol), ("timeframe", timeframe)):
        if candle.get(field) != wanted:
            return f"{field} is {_shown(candle, field)}; it must be {wanted!r}"
    timestamp = candle.get("timestamp")
    if not isinstance(timestamp, float) or timestamp != open_time:
        return f"timestamp is {_shown(candle, 'timestamp')}; it must equal the score {open_time:.0f}"
    for field in _NUMBERS:
        number = candle.get(field)
        if not isinstance(number, float) or not math.isfinite(number):
            return f"{field} is {_shown(candle, field)}; it must be a finite number"
    return None


def parse_score(printed: bytes) -> float:
    """Read a score as a server prints it: `1725100000000`, `1.7251e+12`, `inf`.

    Raises:
        ValueError: It is no number.
    """
    if not _SCORE.fullmatch(printed):
        raise ValueError(f"score {printed!r} is no number")
    return float(printed)


def _item(reply: Sequence[bytes], index: int) -> bytes:
    item = reply[index]
    if not isinstance(item, bytes):
        raise TypeError(f"reply[{index}] is {type(item).__name__}; every item must be bytes")
    return item


def _floored(score: float) -> int:
    if math.isinf(score):
        return INT64_MAX if score > 0 else INT64_MIN
    return min(max(math.floor(score), INT64_MIN), INT64_MAX)


def _depth(text: str) -> int:
    """Return how deep brackets nest outside of strings, before anything recurses over them."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    deepest = depth = 0
    for character in _STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _shown(candle: dict[str, object], field: str) -> str:
    return "absent" if field not in candle else repr(candle[field])[:60]


def native_checker() -> Callable[[list[bytes], str, str], Members]:
    """Return `check_members` by the native module; it must be built."""
    from reconciler_engine import _native  # noqa: PLC0415  # built or not is only known here

    native, make = _native.check_members, Members._make

    def check(reply: list[bytes], symbol: str, timeframe: str) -> Members:
        return make(native(reply, symbol, timeframe))

    return check


_CHECK = native_checker() if IMPLEMENTATION == "native" else check_members_pure


def check_members(reply: list[bytes], symbol: str, timeframe: str) -> Members:
    """Sort the members of a cache key into candles of the series and others.

    Args:
        reply: The flat RESP2 answer of `ZRANGEBYSCORE ... WITHSCORES`: member, score, member, score, ...
        symbol: The product, as the members spell it.
        timeframe: The timeframe, as the members spell it.

    Raises:
        TypeError: An item of the reply is not bytes.
        ValueError: The reply has an odd length, a score that is no number, or scores that descend.
    """
    return _CHECK(reply, symbol, timeframe)

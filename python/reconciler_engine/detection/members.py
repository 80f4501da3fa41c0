"""The rule that distinguishes candles from other members of a cache key.

A member is a candle of a series if it is a JSON object (UTF-8) with

- `symbol` and `timeframe` of the series;
- `timestamp` equal to the member's score, which is an open time of the grid;
- finite numbers `open`, `high`, `low`, `close` (above 0) and `volume` (0 or more), with `high` >= `low`.

Other keys are allowed. Members are parsed as by JavaScript's `JSON.parse`, which the cache's readers use: the last of
repeated keys counts, every number is a double, 1e999 is infinite. Objects and arrays may be nested up to 64 levels.

A filler is a candle for a slot without trades: it has `"isSynthetic":true`, or one price and volume 0.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from reconciler_engine.detection.gaps import readonly
from reconciler_engine.detection.implementation import IMPLEMENTATION
from reconciler_engine.detection.inputs import INT64_MAX, INT64_MIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler_engine.detection.noted import Noted

MAX_DEPTH: Final = 64

_PRICES = ("open", "high", "low", "close")
_SCORE = re.compile(rb"-?inf|[-+.0-9eE]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


_NO_TIMES = readonly(array("q"))


class Members(NamedTuple):
    """The members of a reply, sorted.

    Attributes:
        timestamps: Open times of the candles (int64, ms UTC), ascending, with one entry for each candle.
        duplicates: Open times with two or more candles, each once, ascending (int64, ms UTC).
        malformed: Slots of the members that are not candles of the series, with one entry for each such member: the
            open time at or below its score (int64).
        fillers: Open times with fillers and no other candle, each once, ascending (int64, ms UTC).
        unverified: Open times with an unverified candle, each once, ascending (int64, ms UTC). A candle is verified if
            it is the only member of its slot and its digest is noted; fillers do not count. Empty without digests.
        changed: Unverified open times whose noted digest belongs to another member (int64, ms UTC).
    """

    timestamps: memoryview[int]
    duplicates: memoryview[int]
    malformed: memoryview[int]
    fillers: memoryview[int]
    unverified: memoryview[int] = _NO_TIMES
    changed: memoryview[int] = _NO_TIMES


class _NoCandle(ValueError):
    """A member is not a candle; the message is the reason."""


def check_members_pure(
    reply: list[bytes], symbol: str, timeframe: str, step: int, noted: Noted | None = None
) -> Members:
    """Sort the members of a reply in pure Python; see `check_members`.

    A member whose digest is among the `noted` digests of verified members is a candle without further checks.
    """
    if len(reply) % 2:
        raise ValueError(f"reply has {len(reply)} items; it must alternate members and scores (WITHSCORES)")
    timestamps, duplicates, malformed, fillers = (array("q") for _ in range(4))
    verified: set[int] = set()
    last = -math.inf
    for index in range(0, len(reply), 2):
        # The score alone decides the slot of a member.
        member, printed = _item(reply, index), _item(reply, index + 1)
        score = last = _score_at(index + 1, printed, last)
        open_time = max(_floored(score) // step * step, INT64_MIN)
        fits = noted is not None and score == open_time and noted.fits(open_time, member)
        try:
            stands_for_none = not fits and is_filler(_candle_in(member, printed, symbol, timeframe, step))
        except _NoCandle:
            malformed.append(open_time)
            continue
        if fits or (noted is not None and noted.accepts(open_time, member)):
            verified.add(open_time)
        # Members of one slot follow each other. A filler counts only in a slot without another candle.
        is_shared = timestamps[-1:] == array("q", (open_time,))
        if is_shared and duplicates[-1:] != timestamps[-1:]:
            duplicates.append(open_time)
        if not stands_for_none:
            if fillers[-1:] == array("q", (open_time,)):
                fillers.pop()
        elif not is_shared:
            fillers.append(open_time)
        timestamps.append(open_time)
    found = Members(*map(readonly, (timestamps, duplicates, malformed, fillers)))
    return found if noted is None else _look_at(found, verified, noted)


def _look_at(found: Members, verified: set[int], noted: Noted) -> Members:
    """Add the columns `unverified` and `changed`."""
    alone = verified.difference(found.duplicates, found.malformed)
    unverified = sorted({*found.timestamps}.difference(found.fillers, alone))
    changed = [slot for slot in unverified if slot in noted.digests]
    return found._replace(unverified=readonly(array("q", unverified)), changed=readonly(array("q", changed)))


def explain_member(member: bytes, score: bytes, symbol: str, timeframe: str, step: int) -> str | None:
    """Return why `member` is not a candle of the series, or None if it is one.

    Raises:
        ValueError: `score` is not a number.
    """
    try:
        _candle_in(member, score, symbol, timeframe, step)
    except _NoCandle as refusal:
        return str(refusal)
    return None


def is_filler(candle: dict[str, Any]) -> bool:
    """Whether a parsed member is a filler: a candle for a slot without trades."""
    is_flat = len({candle[field] for field in _PRICES}) == 1
    return candle.get("isSynthetic") is True or (is_flat and candle["volume"] == 0)


def _candle_in(member: bytes, score: bytes, symbol: str, timeframe: str, step: int) -> dict[str, Any]:
    open_time = parse_score(score)
    if not (math.isfinite(open_time) and open_time.is_integer() and INT64_MIN <= open_time < -INT64_MIN):
        raise _NoCandle(f"score {score.decode()} is not a whole number of milliseconds within int64")
    if int(open_time) % step:
        raise _NoCandle(f"score {score.decode()} is off the grid of {step} ms")
    try:
        text = member.decode("utf-8")
    except UnicodeDecodeError as refusal:
        raise _NoCandle(f"not UTF-8 at byte {refusal.start}") from None
    if _depth(text) > MAX_DEPTH:
        raise _NoCandle(f"nested deeper than {MAX_DEPTH} levels")
    try:
        candle = json.loads(text, parse_int=float, parse_constant=_refuse_constant)
    except ValueError as refusal:
        raise _NoCandle(f"not JSON: {refusal}") from None
    if not isinstance(candle, dict):
        raise _NoCandle("JSON, but no object")
    _check_fields(candle, open_time, symbol, timeframe)
    return candle


def _check_fields(candle: dict[str, Any], open_time: float, symbol: str, timeframe: str) -> None:
    for field, wanted in (("symbol", symbol), ("timeframe", timeframe)):
        if candle.get(field) != wanted:
            raise _NoCandle(f"{field} is {_shown(candle, field)}; it must be {wanted!r}")
    timestamp = candle.get("timestamp")
    if not isinstance(timestamp, float) or timestamp != open_time:
        raise _NoCandle(f"timestamp is {_shown(candle, 'timestamp')}; it must equal the score {open_time:.0f}")
    for field in (*_PRICES, "volume"):
        number = candle.get(field)
        if not isinstance(number, float) or not math.isfinite(number):
            raise _NoCandle(f"{field} is {_shown(candle, field)}; it must be a finite number")
        if number < 0 or (number == 0 and field != "volume"):
            raise _NoCandle(f"{field} is {number}; it must be {'>=' if field == 'volume' else '>'} 0")
    if candle["high"] < candle["low"]:
        raise _NoCandle(f"high is {candle['high']}; it must be >= low {candle['low']}")


def parse_score(printed: bytes) -> float:
    """Parse a score as Redis prints it: `1725100000000`, `1.7251e+12`, `inf`.

    Raises:
        ValueError: It is not a number.
    """
    if not _SCORE.fullmatch(printed):
        raise ValueError(f"score {printed!r} is not a number")
    return float(printed)


def _score_at(index: int, printed: bytes, last: float) -> float:
    try:
        score = parse_score(printed)
    except ValueError:
        raise ValueError(f"reply[{index}] is {printed!r}: the score is not a number") from None
    if score < last:
        raise ValueError(f"reply[{index}] is {printed!r}: the score is below the one before it")
    return score


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
    """Return the depth of nested brackets outside of strings, or 0 if `MAX_DEPTH` cannot be exceeded.

    It is checked before parsing, since the parser recurses.
    """
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    deepest = depth = 0
    for character in _STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _shown(candle: dict[str, object], field: str) -> str:
    return "absent" if field not in candle else repr(candle[field])[:60]


def native_checker() -> Callable[[list[bytes], str, str, int], Members]:
    """Return the native implementation of `check_members`; the native module must be built."""
    from reconciler_engine import _native  # noqa: PLC0415  # built or not is only known here

    native = _native.check_members

    def check(reply: list[bytes], symbol: str, timeframe: str, step: int) -> Members:
        return Members(*native(reply, symbol, timeframe, step))

    return check


_CHECK = native_checker() if IMPLEMENTATION == "native" else check_members_pure


def check_members(reply: list[bytes], symbol: str, timeframe: str, step: int) -> Members:
    """Sort the members of a cache key into candles of the series and others.

    Args:
        reply: The flat RESP2 reply to `ZRANGEBYSCORE ... WITHSCORES`: member, score, member, score, ...
        symbol: Product id, as written in the members.
        timeframe: Name of the timeframe, as written in the members.
        step: The grid's step (ms), positive; the grid contains the epoch.

    Raises:
        TypeError: An item of the reply is not bytes.
        ValueError: The reply has an odd length, a score is not a number, or the scores descend.
    """
    return _CHECK(reply, symbol, timeframe, step)

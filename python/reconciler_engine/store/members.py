"""Candles in the form that the cache's readers expect: members of a series' key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from reconciler_engine.detection.implementation import IMPLEMENTATION
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series


def member_of(series: Series, candle: Candle) -> str:
    """Return a candle as the JSON text that the cache's readers expect; numbers are written as by JavaScript."""
    return write_members_pure((candle,), _names(series))[1].decode()


def pairs_of(series: Series, candles: Iterable[Candle]) -> Sequence[bytes]:
    """Return the arguments of ZADD for these candles: open time, member, open time, member, ..."""
    return _WRITE(candles, _names(series))


def write_members_pure(candles: Iterable[Candle], names: str) -> list[bytes]:
    """Return what `pairs_of` returns, in pure Python; `names` is the JSON fields `symbol` and `timeframe`."""
    pairs: list[bytes] = []
    for one in candles:
        sequence = "" if one.sequence_num is None else f',"sequenceNum":{one.sequence_num}'
        # Formatted here: a general JSON encoder takes three times as long.
        member = (
            f'{{"timestamp":{one.timestamp},"open":{_number(one.open)},"high":{_number(one.high)},'
            f'"low":{_number(one.low)},"close":{_number(one.close)},"volume":{_number(one.volume)},{names}{sequence}}}'
        )
        pairs += (b"%d" % one.timestamp, member.encode())
    return pairs


def _number(value: float) -> str:
    """Return a finite float as JSON that parses to the same value: 88000, 0.1, 1e-07, 1e+22."""
    return repr(value).removesuffix(".0")


def _names(series: Series) -> str:
    return f'"symbol":{json.dumps(series.symbol)},"timeframe":{json.dumps(series.timeframe.value)}'


def _writer() -> Callable[[Iterable[Candle], str], list[bytes]]:
    if IMPLEMENTATION == "pure":
        return write_members_pure
    from reconciler_engine import _native  # noqa: PLC0415  # the extension may not be built

    return _native.write_members


_WRITE: Final = _writer()

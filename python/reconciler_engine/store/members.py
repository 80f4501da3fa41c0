"""Candles as the cache's readers expect them: members of a series' key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from reconciler_engine.detection.implementation import IMPLEMENTATION
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series


def member_of(series: Series, candle: Candle) -> str:
    """Return a candle as the cache's readers expect it, with numbers as JavaScript would write them."""
    return write_members_pure((candle,), _names(series))[1].decode()


def pairs_of(series: Series, candles: Iterable[Candle]) -> Sequence[bytes]:
    """Return open time and member of each candle, one after the other, as ZADD takes them."""
    return _WRITE(candles, _names(series))


def write_members_pure(candles: Iterable[Candle], names: str) -> list[bytes]:
    """Write open times and members in plain Python; `names` are the fields that say whose candles they are."""
    pairs: list[bytes] = []
    for one in candles:
        sequence = "" if one.sequence_num is None else f',"sequenceNum":{one.sequence_num}'
        # Written out: a general encoder takes three times as long.
        member = (
            f'{{"timestamp":{one.timestamp},"open":{_number(one.open)},"high":{_number(one.high)},'
            f'"low":{_number(one.low)},"close":{_number(one.close)},"volume":{_number(one.volume)},{names}{sequence}}}'
        )
        pairs += (b"%d" % one.timestamp, member.encode())
    return pairs


def _number(value: float) -> str:
    """Write a finite float so that it reads back as the same: 88000, 0.1, 1e-07, 1e+22; all of them are JSON."""
    return repr(value).removesuffix(".0")


def _names(series: Series) -> str:
    return f'"symbol":{json.dumps(series.symbol)},"timeframe":{json.dumps(series.timeframe.value)}'


def _writer() -> Callable[[Iterable[Candle], str], list[bytes]]:
    if IMPLEMENTATION == "pure":
        return write_members_pure
    from reconciler_engine import _native  # noqa: PLC0415  # built or not is only known here

    return _native.write_members


_WRITE: Final = _writer()

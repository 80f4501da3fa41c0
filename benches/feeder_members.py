"""Members as the feeder writes them, which is what most of a cache consists of."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series
from reconciler_engine.store.members import member_of


def feeder_member(series: Series, candle: Candle) -> str:
    """Write a live candle: after the names its exchange, the instant it was sent, the number of its message."""
    sent, number = candle.timestamp + 1_234, candle.timestamp // 60_000 % 1_000_000
    more = f',"exchange":"coinbase","exchangeTimestamp":{sent},"sequenceNum":{number}}}'
    return member_of(series, candle).removesuffix("}") + more


def feeder_pairs(series: Series, candles: Iterable[Candle]) -> list[str | int]:
    """Return open time and member of each candle, one after the other, as ZADD takes them."""
    return [text for one in candles for text in (one.timestamp, feeder_member(series, one))]

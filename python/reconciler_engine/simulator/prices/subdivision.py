"""Splits a bar into shorter bars, its children, so that folding the children reproduces the bar exactly.

Values are whole numbers of the product's increments, so that sums are exact.
"""

from __future__ import annotations

import hashlib
import struct
from itertools import accumulate, pairwise

MOST_CHILDREN = 12

_DRAWS = struct.Struct("<48H").unpack
_FULL = 65536
# A Brownian path over a bar of range r has children of range r / sqrt(k) and steps of about 0.62 r / sqrt(k);
# a uniform draw of width w has a deviation of 0.29 w. Rows: children of the bar; columns: steps left of a bridge.
_STEP = [
    [2.15 / (k or 1) ** 0.5 * max(0, 1 - 1 / (m or 1)) ** 0.5 / _FULL for m in range(MOST_CHILDREN + 1)]
    for k in range(MOST_CHILDREN + 1)
]
_WICK = [0.5 / (k or 1) ** 0.5 / _FULL for k in range(MOST_CHILDREN + 1)]


# A plain tuple: a NamedTuple made a page a quarter slower.
Lump = tuple[int, int, int, int, int, int]
"""A bar in whole increments: open, high, low, close (ticks), volume (lots), trades.

Every lump has at least one trade, and `volume >= trades * least volume of a trade`.
"""


def split(bar: Lump, key: bytes, count: int, least: int, *, dense: bool) -> list[Lump | None]:
    """Split `bar` into `count` equally long children, oldest first; a child without trades is None.

    Folding the children gives `bar` exactly. The same key gives the same children.

    Args:
        bar: The bar to split.
        key: Seed of the draws, different for every bar of every product.
        count: Number of children, 2 to `MOST_CHILDREN`.
        least: Least volume of a trade (lots).
        dense: Give every child at least one trade, if `bar` has enough.
    """
    draws = _DRAWS(hashlib.shake_128(key).digest(96))
    weights = [32768 + draw for draw in draws[:count]]
    trades = _share_trades(bar[5], weights, draws[47], dense=dense)
    if 0 in trades:
        present = [index for index in range(count) if trades[index]]
        children: list[Lump | None] = [None] * count
        made = _walk(bar, [trades[i] for i in present], [weights[i] for i in present], draws, least)
        for index, child in zip(present, made, strict=True):
            children[index] = child
        return children
    return [*_walk(bar, trades, weights, draws, least)]


def _share_trades(total: int, weights: list[int], offset: int, *, dense: bool) -> list[int]:
    """Return the number of trades of each child, about in proportion to its weight; the sum is `total`."""
    count = len(weights)
    whole = sum(weights)
    if dense and total >= count:
        spare = total - count
        shares = [1 + spare * weight // whole for weight in weights]
        shares[-1] += total - sum(shares)
        return shares
    # Shifting all cuts by the same offset keeps the sum. A child with an expected number below 1 often gets 0.
    base = whole * offset // _FULL
    cuts = [0, *((total * weight + base) // whole for weight in accumulate(weights))]
    return [right - left for left, right in pairwise(cuts)]


def _walk(bar: Lump, trades: list[int], weights: list[int], draws: tuple[int, ...], least: int) -> list[Lump]:
    """Return the children, all with trades: a random walk of the price from the bar's open to its close."""
    first, high, low, last, volume, total = bar
    count = len(trades)
    if count == 1:
        return [bar]
    span = high - low
    wick = span * _WICK[count]
    spare = volume - least * total
    whole = sum(weights)
    steps = _STEP[count]
    children: list[Lump] = []
    highest = lowest = 0
    top_seen, bottom_seen = low - 1, high + 1
    price = first
    for index in range(count):
        opened = price
        left = count - index
        if left > 1:
            price += int((last - price) / left + span * steps[left] * (draws[12 + index] - 32768))
            # Where the price leaves the bar's range, reflect it back.
            if price > high:
                price = max(low, high + high - price)
            elif price < low:
                price = min(high, low + low - price)
            portion = least * trades[index] + spare * weights[index] // whole
            volume -= portion
        else:
            price = last
            portion = volume
        top, bottom = (opened, price) if opened > price else (price, opened)
        top = min(high, top + int(wick * draws[24 + index]))
        bottom = max(low, bottom - int(wick * draws[36 + index]))
        if top > top_seen:
            highest, top_seen = index, top
        if bottom < bottom_seen:
            lowest, bottom_seen = index, bottom
        children.append((opened, top, bottom, price, portion, trades[index]))
    opened, _, bottom, closed, portion, share = children[highest]
    children[highest] = (opened, high, bottom, closed, portion, share)
    opened, top, _, closed, portion, share = children[lowest]
    children[lowest] = (opened, top, low, closed, portion, share)
    return children


def fold_lumps(lumps: list[Lump]) -> Lump:
    """Return the bar that consists of `lumps` (at least one, oldest first)."""
    opens, highs, lows, closes, volumes, trades = zip(*lumps, strict=True)
    return opens[0], max(highs), min(lows), closes[-1], sum(volumes), sum(trades)

"""The seeded trades of one product, as bars of any length at any instant."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from reconciler_engine.market.rounding import ceil_to
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.subdivision import Lump, fold_lumps, split

STEPS_S = (86_400, 7_200, 3_600, 1_800, 900, 300, 60, 10, 1)
"""Bar lengths in seconds, by level; each divides the one before it."""

_COUNTS = tuple(long // short for long, short in pairwise(STEPS_S))
# Bars down to this level are cached: a page of any timeframe needs at most 100 of them, and the next page of the same
# series needs mostly the same ones.
_KEPT_LEVEL = 4
_KEPT_LIMIT = 4096
# Octaves of the daily prices: the longest wave has 2**9 days, and prices stay within a factor of about 3.
_OCTAVES = 10
_KEY = struct.Struct("<16sBq").pack

_K = TypeVar("_K")
_V = TypeVar("_V")

Span = tuple[int, int]
"""Start and stop in seconds since 1970, half-open."""


class Book:
    """Bars of one product, with prices and volumes as whole numbers of increments.

    A day's bar is a sum of waves of hashed noise; a shorter bar is made by splitting the longer bar around it. So bars
    of all lengths agree, and any bar can be computed without earlier ones. Caches at most 4,096 days and 4,096 splits;
    the oldest entry is dropped first.

    Args:
        seed: Seed of the market.
        product: Profile of the product.
    """

    def __init__(self, seed: int, product: ListedProduct) -> None:
        self.product = product
        self._key = hashlib.blake2b(f"{seed}:{product.symbol}".encode(), digest_size=16).digest()
        self._least = 10 ** (product.volume_decimals - 4)
        self._days: dict[int, Lump] = {}
        self._waves: dict[tuple[int, int], float] = {}
        self._kept: dict[tuple[int, int], list[Lump | None]] = {}

    def lumps(self, level: int, start_s: int, stop_s: int) -> list[Lump | None]:
        """Return the bars of a level from `start_s` until `stop_s` (multiples of the level's step); None: no trades."""
        if level == 0:
            return [self._day(day) for day in range(start_s // STEPS_S[0], stop_s // STEPS_S[0])]
        long, short = STEPS_S[level - 1], STEPS_S[level]
        first = start_s - start_s % long
        found: list[Lump | None] = []
        if level <= _KEPT_LEVEL:
            for parent_s in range(first, stop_s, long):
                found += self._children(level, parent_s)
        else:
            last = ceil_to(stop_s, long)
            starts = range(first, last, long)
            for parent_s, parent in zip(starts, self.lumps(level - 1, first, last), strict=True):
                found += self._split(level, parent_s, parent)
        skipped = (start_s - first) // short
        return found[skipped : skipped + (stop_s - start_s) // short]

    def clip(self, level: int, start_s: int, lump: Lump | None, closed: Sequence[Span]) -> Lump | None:
        """Return a bar without its trades in the spans `closed`, or None if no trade is left."""
        stop_s = start_s + STEPS_S[level]
        inside = [span for span in closed if span[0] < stop_s and start_s < span[1]]
        if lump is None or not inside:
            return lump
        if any(span[0] <= start_s and stop_s <= span[1] for span in inside):
            return None
        step = STEPS_S[level + 1]
        parts = zip(range(start_s, stop_s, step), self.lumps(level + 1, start_s, stop_s), strict=True)
        clipped = [self.clip(level + 1, part_s, part, inside) for part_s, part in parts]
        left = [part for part in clipped if part is not None]
        return fold_lumps(left) if left else None

    def _children(self, level: int, parent_s: int) -> list[Lump | None]:
        """Return the bars of `level` in the longer bar at `parent_s`, from the cache or computed."""
        kept = self._kept.get((level, parent_s))
        if kept is None:
            parent = self.lumps(level - 1, parent_s, parent_s + STEPS_S[level - 1])[0]
            kept = self._split(level, parent_s, parent)
            _keep(self._kept, (level, parent_s), kept)
        return kept

    def _split(self, level: int, parent_s: int, parent: Lump | None) -> list[Lump | None]:
        count = _COUNTS[level - 1]
        if parent is None:
            return [None] * count
        key = _KEY(self._key, level, parent_s)
        return split(parent, key, count, self._least, dense=self.product.dense)

    def _day(self, day: int) -> Lump:
        """Return the bar of a day, numbered from 1970, from the cache or computed."""
        kept = self._days.get(day)
        if kept is None:
            kept = self._make_day(day)
            _keep(self._days, day, kept)
        return kept

    def _make_day(self, day: int) -> Lump:
        product = self.product
        draws = self._draw(0, day)
        scale = 10**product.price_decimals
        first, last = self._price(day), self._price(day + 1)
        reach = product.price * product.volatility * 0.6
        high = max(first, last) + reach * draws[0]
        low = min(first, last) - reach * draws[1]
        trades = max(1, round(product.trades * math.exp(draws[2] - 0.5)))
        lots = round(product.volume * 10**product.volume_decimals * math.exp(1.2 * (draws[2] + draws[3] - 1)))
        return (
            max(1, round(first * scale)),
            max(1, round(high * scale)),
            max(1, math.floor(low * scale)),
            max(1, round(last * scale)),
            max(lots, self._least * trades),
            trades,
        )

    def _price(self, day: int) -> float:
        """Return the price at the midnight that begins `day`."""
        height = 0.0
        for octave in range(_OCTAVES):
            length = 1 << octave
            cell, offset = divmod(day, length)
            left, right = self._wave(octave, cell), self._wave(octave, cell + 1)
            share = offset / length
            height += math.sqrt(length) * (left + (right - left) * share * share * (3 - 2 * share))
        return self.product.price * math.exp(self.product.volatility * height)

    def _wave(self, octave: int, cell: int) -> float:
        """Return the height of a wave at the left end of one of its cells, from [-0.5, 0.5)."""
        height = self._waves.get((octave, cell))
        if height is None:
            height = self._draw(1 + octave, cell)[0] - 0.5
            _keep(self._waves, (octave, cell), height)
        return height

    def _draw(self, kind: int, number: int) -> tuple[float, ...]:
        """Return four numbers from [0, 1), hashed from the arguments."""
        digest = hashlib.shake_128(_KEY(self._key, 128 + kind, number)).digest(8)
        return tuple(value / 65536 for value in struct.unpack("<4H", digest))


def _keep(kept: dict[_K, _V], key: _K, value: _V) -> None:
    """Add a value to a cache; a full cache drops its oldest value."""
    if len(kept) >= _KEPT_LIMIT:
        del kept[next(iter(kept))]
    kept[key] = value

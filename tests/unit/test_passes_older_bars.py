"""The walk over older bars, where the cache does not tell of a series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reconciler_engine.engine.passes.older_bars import OlderBars
from reconciler_engine.errors import NodeAway, StoreError, StoreRefused, StoreUnavailable
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Ledger
from reconciler_engine.store.evidence import LedgerRead

BTC, ETH = Series("BTC-USD", Timeframe.M1), Series("ETH-USD", Timeframe.M1)
NOW = 1_767_225_600_000
HOUR = 3_600_000


class Cache:
    """Keys, evidence and cursor of two series: four hours of unverified bars each, and an error where BTC's is read."""

    def __init__(self, error: StoreError) -> None:
        self.error = error

    async def oldest_of(self, series: Sequence[Series], _members: int) -> list[int]:
        return [NOW - 4 * HOUR] * len(series)

    async def verified(self, series: Series, _slots: Interval) -> set[int]:
        if series == BTC:
            raise self.error
        return set()

    async def read(self, wanted: Sequence[tuple[Series, Interval]]) -> list[LedgerRead]:
        return [LedgerRead(Ledger())] * len(wanted)

    async def load(self) -> None:
        return None

    async def save(self, name: str, instant: int) -> None:
        self.saved = (name, instant)


async def find(error: StoreError) -> dict[Series, Interval]:
    cache: Any = Cache(error)
    return await OlderBars(cache, cache, cache).find([BTC, ETH], NOW, 0, 10)


@pytest.mark.parametrize("error", [NodeAway("away for 30 s"), StoreRefused("no hash", code="WRONGTYPE")])
async def test_a_series_that_cannot_be_read_holds_no_other_up(error):
    assert [*await find(error)] == [ETH]


async def test_an_outage_of_all_ends_the_walk():
    with pytest.raises(StoreUnavailable):
        await find(StoreUnavailable("away"))


class Walked(Cache):
    """The same of any series, without an error; remembers the order of the questions."""

    def __init__(self, cursor: tuple[str, int] | None) -> None:
        super().__init__(StoreError("none"))
        self.cursor, self.asked = cursor, list[Series]()

    async def verified(self, series: Series, _slots: Interval) -> set[int]:
        self.asked.append(series)
        return set()

    async def load(self) -> tuple[str, int] | None:  # type: ignore[override]
        return self.cursor


@pytest.mark.parametrize(
    ("cursor", "first"),
    [(None, "BTC-USD:1m"), ("BTC-USD:1h", "BTC-USD:1h"), ("BTC-USD:30m", "BTC-USD:1h"), ("nonsense", "BTC-USD:1m")],
)
async def test_the_walk_takes_the_finest_timeframe_of_each_symbol_first(cursor, first):
    names = ["BTC-USD:1m", "BTC-USD:15m", "BTC-USD:1h", "ETH-USD:1m", "ETH-USD:15m", "ETH-USD:1h"]
    cache: Any = Walked(None if cursor is None else (cursor, NOW))
    await OlderBars(cache, cache, cache).find([Series.parse(one) for one in sorted(names)], NOW, 0, 100)
    at = names.index(first)
    assert [str(one) for one in cache.asked] == names[at:] + names[:at]

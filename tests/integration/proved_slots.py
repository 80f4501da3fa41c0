"""Slots of one series, answers about them, and the stores of candles and proofs, in each layout."""

from __future__ import annotations

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.ledger import Ledger
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.findings import DAY_MS
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Layout, Scope

MINUTE = 60_000
T0 = 1_767_225_600_000
BTC = Series("BTC-USD", Timeframe.M1)


class Names:
    """The scope and its keys of the series, in the layout of the test at hand."""

    def __init__(self) -> None:
        self.use(Layout.USER)

    def use(self, layout: Layout) -> None:
        self.scope = Scope(1, 1, "test", layout)
        self.candles = self.scope.candle_key(BTC)
        self.key = self.scope.evidence_key(BTC)


names = Names()
UNLIMITED = Retention(0, 0)
LATER = T0 + 2 * DAY_MS
REFERENCE = Venue(has_reference=True)


def at(slot: int) -> int:
    return T0 + slot * MINUTE


def candle(slot: int, price: float = 88_000.0) -> Candle:
    return Candle(at(slot), price, price, price, price, 1.5)


def span(first: int, stop: int) -> Interval:
    return Interval(at(first), at(stop))


def states(ledger: Ledger, slots: int = 10, first: int = 0) -> str:
    found = [ledger.at(at(slot)) for slot in range(first, first + slots)]
    return "".join("." if one is None else one.state.value[0] for one in found)


def answer(*rows: int, asked: Interval = span(0, 10), when: int = LATER) -> Answer:  # noqa: B008 (it is immutable)
    return Answer(asked, when, Intervals.of_slots([at(row) for row in rows], MINUTE))


async def known(store: EvidenceStore, interval: Interval = span(0, 10), series: Series = BTC) -> Ledger:  # noqa: B008
    (read,) = await store.read([(series, interval)])
    assert read.error is None
    return read.ledger


def use_layout(request):
    """Give all names the forms of each layout."""
    names.use(request.param)
    yield request.param
    names.use(Layout.USER)


def evidence_store(redis) -> EvidenceStore:
    return EvidenceStore(redis, names.scope)


def candle_store(redis) -> CandleStore:
    return CandleStore(redis, names.scope)


async def prove(candles: CandleStore, *rows: int, slots: Interval = span(0, 10), **options):  # noqa: B008
    inside = [candle(row) for row in rows if at(row) in slots]
    return await candles.merge_answer(
        BTC, inside, UNLIMITED, answer(*rows, **options), NOTHING, slots=slots, venue=REFERENCE
    )

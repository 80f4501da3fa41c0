"""An exchange that withholds, lies, fails and comes late, over a virtual clock, with its products."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.answers import Answer
from reconciler_engine.planning.audit import AuditRules
from reconciler_engine.planning.ledger import Knowledge
from reconciler_engine.planning.listing import Listing
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.window import closed_before

TIMEFRAME = Timeframe.M1
STEP = TIMEFRAME.step_ms
HOUR = 3_600_000
T0 = 1_767_225_600_000
SLOTS = 420
WINDOW = Interval(T0, T0 + SLOTS * STEP)
# The exchange has more than is looked at, on both sides.
TRADING = Interval(T0 - PAGE_SLOTS * STEP, WINDOW.stop + PAGE_SLOTS * STEP)
# The last two hours are live; the slots before have long closed.
LIVE_FROM = WINDOW.stop - 2 * HOUR
LATEST_ROW_MS = 5 * HOUR
PASS_MS = 300_000
END = WINDOW.stop + LATEST_ROW_MS + 16 * HOUR
RULES = AuditRules(repairs=True)


def slots_at(open_times) -> Intervals:
    return Intervals.of_slots(sorted(open_times), STEP)


@dataclass
class Product:
    """A product at the exchange, and what the cache holds of it.

    Attributes:
        series: Its series.
        density: Share of the slots in which it trades.
        listing: When it can have candles.
        rows: Slots that have a candle, and the instants from which on the exchange tells it.
        spoilt: Slots whose row cannot be used, and until when.
        loses: Share of the live bars that the feeder does not write; 1 where it has stopped.
        cuts: Share of the live bars that it writes with wrong values.
        is_tracked: Whether the engine keeps its cache complete.
        knows_listing: Whether the product list tells its listing.
        candles: Slots with a member in the cache that is not a filler, ghosts too.
        cut: Slots whose candle has other values than the exchange's.
        known: Knowledge of the engine.
        traded: Slots of `rows`.
        is_late: Those of `rows` that are told after their close.
    """

    series: Series
    density: float
    listing: Listing
    rows: dict[int, int] = field(default_factory=dict)
    spoilt: dict[int, int] = field(default_factory=dict)
    loses: float = 1.0
    cuts: float = 0.0
    is_tracked: bool = False
    knows_listing: bool = False
    candles: Intervals = NOTHING
    cut: set[int] = field(default_factory=set)
    known: Knowledge = field(default_factory=Knowledge)
    traded: Intervals = NOTHING
    is_late: dict[int, int] = field(default_factory=dict)

    def told(self, now: int) -> Intervals:
        """Return the slots of closed rows that the exchange has by now."""
        untold = slots_at(at for at, told in self.is_late.items() if told > now)
        return (self.traded & Interval(0, now // STEP * STEP)) - untold


@dataclass(frozen=True)
class Outage:
    """A time in which the exchange withholds rows, of one product or of all.

    Attributes:
        span: The instants of it.
        mode: `empty`, `late` or `thinned`.
        every: The n-th row is left out of a thinned answer.
        by_slot: Whether rows are counted by their slot, or in each answer.
        symbol: The one product; None for the whole venue.
    """

    span: Interval
    mode: str
    every: int
    by_slot: bool
    symbol: str | None

    @property
    def needs_full_cache(self) -> bool:
        """Whether nothing but full caches can tell it from slots without trades."""
        return self.symbol is not None or (self.mode == "thinned" and self.span.stop - self.span.start >= HOUR)

    def leave(self, rows: list[int]) -> list[int]:
        """Return the rows that it leaves in an answer."""
        if self.mode == "empty":
            return []
        if self.mode == "late":
            return [at for at in rows if at + STEP <= self.span.start]
        counted = ((at // STEP if self.by_slot else number, at) for number, at in enumerate(rows))
        return [at for number, at in counted if number % self.every]


class Exchange:
    """A market, and an exchange that fails to tell all of it."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.outage = self._outage()
        is_full = self.outage.needs_full_cache
        halts = [range(0)]
        if random.random() < 0.35:
            start = random.randrange(SLOTS)
            halts.append(range(start, min(start + random.choice([3, 20, 60, 180]), SLOTS - 5)))
        names = ["BTC-USD", "ETH-USD", "SOL-USD", "ADA-USD", "THIN-USD"][: random.choice([2, 3, 4, 5])]
        tracked = {name for name in names if random.random() < 0.6} or {names[-1]}
        if self.outage.symbol not in names:
            tracked.add(names[-1])
        self.products = [
            self._product(name, [slot for halt in halts for slot in halt], rank) for rank, name in enumerate(names)
        ]
        for product in self.products:
            product.is_tracked = product.series.symbol in tracked
            if product.is_tracked:
                self._cache(product, is_full=is_full)

    def _outage(self) -> Outage:
        random = self.random
        start = LIVE_FROM + random.randrange(HOUR)
        minutes = random.choice([5, 20, 40, 55, 100])
        symbol = random.choice([None, None, None, "ETH-USD", "SOL-USD"])
        mode = random.choice(["empty", "late", "thinned"])
        span = Interval(start, start + minutes * 60_000)
        return Outage(span, mode, random.choice([2, 3, 4]), random.random() < 0.5, symbol)

    def _product(self, name: str, halted: list[int], rank: int) -> Product:
        random = self.random
        # The two products of the greatest turnover trade in every slot, nearly always.
        density = 1.0 if rank < 2 else random.choice([1.0, 0.99, 0.7, 0.4, 0.05])
        listed = delisted = None
        if rank > 1 and random.random() < 0.3:
            listed = T0 + random.randrange(SLOTS) * STEP
        elif rank > 1 and random.random() < 0.2:
            delisted = T0 + random.randrange(SLOTS) * STEP
        product = Product(Series(name, TIMEFRAME), density, Listing(listed, delisted))
        late = random.choice([0.0, 0.02]) if rank < 2 else 0.02
        gone = {*halted, *random.sample(range(SLOTS), random.choice([0, 0, 2]))} if rank < 2 else set(halted)
        for at in (TRADING & Interval(listed or 0, delisted or TRADING.stop)).grid(STEP):
            if (at - T0) // STEP not in gone and random.random() < density:
                product.rows[at] = self._told(at, late)
                if random.random() < 0.01:
                    product.spoilt[at] = LIVE_FROM + random.randrange(4 * HOUR)
        product.knows_listing = random.random() < 0.5
        product.traded = slots_at(product.rows)
        product.is_late = {at: told for at, told in product.rows.items() if told > at + STEP}
        return product

    def _told(self, at: int, late: float) -> int:
        closed, chance = at + STEP, self.random.random()
        if chance < late:
            return max(closed, LIVE_FROM) + self.random.randrange(LATEST_ROW_MS)
        return closed + self.random.randrange(100_000) if chance < late + 0.05 else closed

    def _cache(self, product: Product, *, is_full: bool) -> None:
        """Fill a cache as the feeder left it."""
        random = self.random
        share = 1.0 if is_full else random.choice([1.0, 0.95, 0.5, 0.02, 0.0])
        history = [at for at in product.rows if T0 <= at < LIVE_FROM]
        cached = {at for at in history if random.random() < share}
        product.loses = 0.0 if is_full else random.choice([0.0, 0.1, 0.4, 1.0])
        product.cuts = random.choice([0.0, 0.2])
        # Fillers lie in empty slots, and count for nothing; ghosts count as candles.
        empty = [at for at in range(T0, LIVE_FROM, STEP) if at not in product.rows]
        if product.density >= 0.4 and len(cached) > SLOTS // 3 and random.random() < 0.3:
            cached.update(random.sample(empty, min(random.choice([1, 3]), len(empty))))
        product.candles = slots_at(cached)

    def answer(self, product: Product, asked: Interval, now: int) -> Answer | None:
        """Return an answer; None where none came: 429, an error, a timeout, wrong dates."""
        if self.random.random() < 0.1:
            return None
        closed = closed_before(now, TIMEFRAME)
        rows = list((product.told(now) & asked).slots(STEP))
        if asked.stop == closed and closed in product.rows:
            rows.append(closed)
        if now in self.outage.span and self.outage.symbol in {None, product.series.symbol}:
            rows = self.outage.leave(rows)
        spoilt = [at for at in rows if product.spoilt.get(at, now) > now]
        good = [at for at in rows if at not in spoilt]
        is_whole = self.random.random() > 0.03
        return Answer(asked, now, Intervals.of_slots(good, STEP), Intervals.of_slots(spoilt, STEP), is_whole)

    def feed(self, product: Product, since: int, now: int) -> None:
        """Write the bars that closed since the last pass, as the feeder does."""
        closed = [at for at in Interval(since - STEP, now - STEP).grid(STEP) if at in product.rows]
        written = [at for at in closed if at >= LIVE_FROM and self.random.random() >= product.loses]
        product.candles |= slots_at(written) & WINDOW
        product.cut.update(at for at in written if self.random.random() < product.cuts)
        if product.loses and product.candles and now < WINDOW.stop + HOUR and self.random.random() < 0.03:
            held = list(product.candles.slots(STEP))
            product.candles -= slots_at(self.random.sample(held, len(held) // 50))

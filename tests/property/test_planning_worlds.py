"""Random worlds against an oracle: an exchange that answers late, falsely, in part or not at all, and an engine's mind.

No server: the pass's own decisions (what is missing, what is worth a request, which pages, what an answer proves, what
the result says) over a virtual clock, until all rechecks are done. At the end the oracle says what exists. Ends with
what happened over all worlds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

import pytest

from reconciler_engine.engine.passes.reconciler import plan_pages
from reconciler_engine.engine.passes.tally import Tally
from reconciler_engine.engine.tasks.messages import PageOutcome, ScanOutcome, SpanFinding, wire_of
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.absent_slots import sort_absent
from reconciler_engine.planning.answers import Answer
from reconciler_engine.planning.ledger import Ledger, State
from reconciler_engine.planning.listing import Listing, apply_listing
from reconciler_engine.planning.pages import PAGE_SLOTS, Page
from reconciler_engine.planning.proof import judge
from reconciler_engine.planning.sightings import RECHECK_MS
from reconciler_engine.planning.window import DEFAULT_GRACE_MS, closed_before

SERIES = Series("DASH-USD", Timeframe.M1)
STEP = SERIES.timeframe.step_ms
T0 = 1_767_225_600_000
SLOTS = 700
WINDOW = Interval(T0, T0 + SLOTS * STEP)
# The last hour is live; what lies before has long closed.
LIVE_FROM = T0 + (SLOTS - 60) * STEP
LATEST_ROW_MS = 5 * 3_600_000
PASS_MS = 300_000
END = WINDOW.stop + DEFAULT_GRACE_MS + LATEST_ROW_MS + 2 * RECHECK_MS[-1]


@dataclass
class Exchange:
    """What exists, from when on it is told, and how the exchange fails to tell it."""

    random: Random
    rows: dict[int, int] = field(default_factory=dict)
    listing: Listing = field(default_factory=Listing)
    spoken_of: set[int] = field(default_factory=set)
    was_honest: bool = False

    @classmethod
    def make(cls, seed: int) -> Exchange:
        random = Random(seed)
        density = random.choice([1.0, 0.99, 0.7, 0.4, 0.05])
        listed = random.choice([None, random.randrange(SLOTS)])
        delisted = random.choice([None, None, random.randrange(SLOTS)])
        outages = [range(start, start + random.choice([1, 20, 350])) for start in random.sample(range(SLOTS), 2)]
        exchange = cls(
            random,
            listing=Listing(
                None if listed is None else T0 + listed * STEP, None if delisted is None else T0 + delisted * STEP
            ),
        )
        for slot in range(listed or 0, SLOTS if delisted is None else delisted):
            if random.random() < density and not any(slot in outage for outage in outages):
                closed = T0 + (slot + 1) * STEP
                # Late rows of any age up to the last recheck: told hours after the bar closed.
                told = max(closed, LIVE_FROM) + random.randrange(LATEST_ROW_MS) if random.random() < 0.02 else closed
                exchange.rows[T0 + slot * STEP] = told
        return exchange

    def answer(self, asked: Interval, now: int) -> Answer | None:
        """None where it could not be asked: 429, error, timeout, wrong dates."""
        self.was_honest = False
        if self.random.random() < 0.15:
            return None
        rows = [at for at in asked.grid(STEP) if self.rows.get(at, now + 1) <= now]
        told, covering = rows, True
        fault = self.random.random()
        if fault < 0.1:
            rows, covering = self.random.sample(rows, len(rows) // 2), False
        elif fault < 0.3:
            # False empties: what the first answer about a slot leaves out although it is there.
            rows = [at for at in rows if at in self.spoken_of or self.random.random() < 0.5]
        self.spoken_of.update(asked.grid(STEP))
        self.was_honest = rows == told and covering
        return Answer(asked, now, sorted(rows), covering)


@dataclass
class Figures:
    worlds: int = 0
    requests: int = 0
    minimum: int = 0
    bridges: int = 0
    bridges_in_vain: int = 0
    late: int = 0
    wrongly_empty_at_the_end: int = 0
    wrongly_empty_for_a_while: int = 0
    present_called_missing: int = 0
    asked_while_settled: int = 0
    asked_in_vain: int = 0
    result_is_wrong: int = 0
    unsettled_at_the_end: int = 0


def run_world(seed: int, figures: Figures) -> None:
    exchange = Exchange.make(seed)
    ledger = Ledger()
    cache: set[int] = set()
    figures.worlds += 1
    knows_listing = exchange.random.random() < 0.5
    now = LIVE_FROM
    while now < END:
        now += PASS_MS if now < WINDOW.stop + 3_600_000 else 6 * PASS_MS
        window = Interval(T0, min(closed_before(now, SERIES.timeframe), WINDOW.stop))
        if knows_listing:
            ledger = apply_listing(ledger, exchange.listing, Intervals([window]), STEP, now)
        ledger = run_pass(exchange, ledger, cache, window, now, figures)
        figures.wrongly_empty_for_a_while += count_wrong(exchange, ledger, window, cache, now)
    figures.wrongly_empty_at_the_end += count_wrong(exchange, ledger, WINDOW, cache, now)
    confirmed = {at for span in ledger.confirmed(WINDOW) for at in span.grid(STEP)}
    assert confirmed.isdisjoint(cache), f"seed {seed}"
    left = sort_absent(WINDOW - Intervals.of_slots(sorted(cache), STEP), ledger, now)
    figures.unsettled_at_the_end += left.missing.size(STEP) + left.due.size(STEP)
    if not knows_listing:
        assert all(known.finding.state is not State.UNLISTED for known in ledger.findings)


def run_pass(
    exchange: Exchange, ledger: Ledger, cache: set[int], window: Interval, now: int, figures: Figures
) -> Ledger:
    """Scan, plan, ask, judge and count as the engine does; return what is known then."""
    tally = Tally([(SERIES, window)])
    found = sort_absent(window - Intervals.of_slots(sorted(cache), STEP), ledger, now)
    missing, confirmed, due = (wire_of(spans, STEP) for spans in found)
    finding = SpanFinding(
        symbol=SERIES.symbol, timeframe=SERIES.timeframe, missing=missing, confirmed=confirmed, due=due
    )
    tally.add_scan([SERIES], ScanOutcome(id="scan", findings=(finding,)))
    figures.minimum += fewest([at for span in found.due for at in span.grid(STEP)])
    for _, span, page in plan_pages(tally.due(), now, DEFAULT_GRACE_MS):
        figures.requests += 1
        for at in slots_of(page):
            known = ledger.at(at)
            figures.asked_while_settled += known is not None and known.is_confirmed and not known.is_due(now)
            figures.asked_in_vain += known is not None and not known.is_due(now)
            figures.present_called_missing += at in cache
        ledger = ask(exchange, ledger, cache, tally, span, page, now, figures)
    for _, span, page in tally.bridges(now):
        figures.bridges += 1
        for at in slots_of(page):
            known = ledger.at(at)
            figures.asked_while_settled += known is not None and known.is_confirmed
            figures.present_called_missing += at in cache
        ledger = ask(exchange, ledger, cache, tally, span, page, now, figures)
        figures.bridges_in_vain += exchange.was_honest and any(not settled(ledger, cache, at) for at in slots_of(page))
    absent = window - Intervals.of_slots(sorted(cache), STEP)
    (row,) = tally.result(duration_ms=0).series
    told = (row.confirmed_empty, row.unresolved, row.expected - row.confirmed_empty - row.unresolved)
    empty = (absent & ledger.confirmed(window)).size(STEP)
    figures.result_is_wrong += told != (empty, absent.size(STEP) - empty, len(cache & set(window.grid(STEP))))
    return ledger


def ask(
    exchange: Exchange,
    ledger: Ledger,
    cache: set[int],
    tally: Tally,
    span: Interval,
    page: Page,
    now: int,
    figures: Figures,
) -> Ledger:
    """Ask for a page, judge and count what came; return what is known then."""
    answer = exchange.answer(page.interval, now)
    outcome = PageOutcome(id="page", symbol=SERIES.symbol, timeframe=SERIES.timeframe, requests=1)
    if answer is None:
        outcome = outcome.model_copy(update={"error": "not served"})
    else:
        absent = span - Intervals.of_slots(sorted(cache), STEP)
        verdict = judge(ledger, replace(answer, asked=span), absent, STEP)
        ledger = verdict.ledger
        figures.late += verdict.late
        cache.update(at for at in answer.rows if at in span)
        left = sort_absent(absent - Intervals.of_slots(answer.rows, STEP), ledger, now)
        news = {"unresolved": wire_of(left.missing, STEP), "confirmed": wire_of(left.confirmed, STEP)}
        outcome = outcome.model_copy(update=news)
    tally.add_page(span, outcome)
    return ledger


def slots_of(page: Page) -> list[int]:
    return list(page.wanted.slots(STEP))


def settled(ledger: Ledger, cache: set[int], at: int) -> bool:
    known = ledger.at(at)
    return at in cache or (known is not None and known.is_confirmed)


def count_wrong(exchange: Exchange, ledger: Ledger, window: Interval, cache: set[int], now: int) -> int:
    """Slots called empty although the exchange tells a candle by now."""
    confirmed = (at for span in ledger.confirmed(window) for at in span.grid(STEP))
    return sum(at not in cache and exchange.rows.get(at, now + 1) <= now for at in confirmed)


def fewest(open_times: list[int]) -> int:
    """The least number of pages: lay one at the oldest slot left, again and again."""
    pages, reach = 0, -1
    for at in open_times:
        if at >= reach:
            pages, reach = pages + 1, at + PAGE_SLOTS * STEP
    return pages


def check(worlds: range, tell_figure) -> None:
    figures = Figures()
    for seed in worlds:
        run_world(seed, figures)
    tell_figure(f"random worlds: {figures}")
    assert figures.requests == figures.minimum
    assert figures.wrongly_empty_at_the_end == 0
    assert figures.present_called_missing == 0
    assert figures.asked_while_settled == 0
    assert figures.asked_in_vain == 0
    assert figures.bridges_in_vain == 0
    assert figures.result_is_wrong == 0
    assert figures.unsettled_at_the_end == 0
    # the worlds are as bad as they are meant to be
    assert figures.late > 0
    assert figures.bridges > 0
    assert figures.wrongly_empty_for_a_while > 0


def test_some_worlds_end_right(tell_figure):
    check(range(10), tell_figure)


@pytest.mark.soak
def test_a_thousand_worlds_end_right(tell_figure):
    check(range(1_000), tell_figure)

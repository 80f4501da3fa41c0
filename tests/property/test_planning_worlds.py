"""Random worlds against an oracle: an exchange that withholds, lies, fails and comes late, and an engine's mind.

No server: the pass's own decisions (which slots are missing, which are worth a request, which pages, what an answer and
a reference prove, when the venue stood still, what the result says) over a virtual clock, until all rechecks are done.
An oracle knows the rows that exist, at each moment and at the end. Ends with the figures of all worlds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from random import Random

import pytest
from tests.property.withholding_exchange import (
    END,
    HOUR,
    LIVE_FROM,
    PASS_MS,
    RULES,
    STEP,
    T0,
    TIMEFRAME,
    TRADING,
    WINDOW,
    Exchange,
    Product,
)

from reconciler_engine.engine.passes.pass_plan import plan_pages
from reconciler_engine.engine.passes.tally import Tally
from reconciler_engine.engine.tasks.messages import PageOutcome, ScanOutcome, SpanFinding, wire_of
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import SAME_MOMENT_MS, Answer, Venue, settled_rows
from reconciler_engine.planning.audit import find_due_suspects
from reconciler_engine.planning.ghosts import is_lacked
from reconciler_engine.planning.halts import WITNESSES, apply_halts, can_be_halted, find_halts
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.listing import apply_listing
from reconciler_engine.planning.pages import PAGE_SLOTS, Page, filled_up
from reconciler_engine.planning.proof import awaits_reference, judge
from reconciler_engine.planning.reference import Reference, note_reference, reference_slots
from reconciler_engine.planning.sightings import RIPE_MS, TRUSTED_WITNESSES
from reconciler_engine.planning.states import AbsentSlots, sort_absent
from reconciler_engine.planning.window import DEFAULT_GRACE_MS, closed_before


@dataclass
class Figures:
    worlds: int = 0
    requests: int = 0
    least: int = 0
    references: int = 0
    bridges: int = 0
    contradicted: int = 0
    late: int = 0
    halted: int = 0
    ghosts_removed: int = 0
    withdrawn: int = 0
    complete: int = 0
    wrongly_complete: int = 0
    wrongly_empty: int = 0
    wrongly_empty_at_the_end: int = 0
    complete_before_a_late_row: int = 0
    asked_in_vain: int = 0
    result_is_wrong: int = 0
    unready_at_the_end: int = 0
    bad_seeds: list[int] = field(default_factory=list)


class World:
    """One exchange, one engine: its knowledge, its references, its passes."""

    def __init__(self, seed: int, figures: Figures) -> None:
        self.seed = seed
        self.exchange = Exchange(seed)
        self.random = Random(-seed - 1)
        self.figures = figures
        self.references: dict[tuple[str, int | None], Reference] = {}
        self.newest: tuple[int, int] | None = None
        self.paused: set[str] = set()
        # Products of which this pass removed a ghost, or asked for a reference.
        self.changed_beside: set[str] = set()
        self.now = LIVE_FROM
        self.tracked = [product for product in self.exchange.products if product.is_tracked]

    def run(self) -> None:
        self.figures.worlds += 1
        while self.now < END:
            before = self.now
            self.now += PASS_MS if self.now < WINDOW.stop + HOUR else HOUR
            for product in self.tracked:
                self.exchange.feed(product, before, self.now)
            self.run_pass()
            self.look()
        for product in self.tracked:
            wrong = self.wrongly_empty(product).size(STEP)
            self.figures.wrongly_empty_at_the_end += wrong
            is_ready = self.is_ready(product)
            self.figures.unready_at_the_end += not is_ready
            if wrong or not is_ready:
                self.figures.bad_seeds.append(self.seed)
            if not product.knows_listing:
                assert all(one.finding.state is not State.UNLISTED for one in product.known.ledger.findings)

    def window(self) -> Interval:
        return Interval(T0, min(closed_before(self.now, TIMEFRAME), WINDOW.stop))

    def absent(self, product: Product, window: Interval) -> AbsentSlots:
        return sort_absent(window - product.candles, product.known.ledger, self.now)

    def is_ready(self, product: Product) -> bool:
        """Whether every slot holds a candle that is not suspect or is proved to have none."""
        window = self.window()
        doubted = product.known.ledger.where(window, lambda finding: finding.state is State.SUSPECT)
        return not self.absent(product, window).missing and not doubted & product.candles

    def wrongly_empty(self, product: Product) -> Intervals:
        """Return the slots called empty that have a candle at the exchange by now and not in the cache."""
        return (product.known.ledger.confirmed(self.window()) & product.told(self.now)) - product.candles

    def look(self) -> None:
        """Compare the knowledge with the market; a row that the exchange tells after the proof is not its fault."""
        for product in self.tracked:
            wrong = self.wrongly_empty(product)
            proofs = {at: product.known.ledger.at(at) for at in wrong.slots(STEP)}
            faults = [at for at, proof in proofs.items() if proof and product.rows[at] <= proof.first]
            self.figures.wrongly_empty += len(faults)
            if faults:
                self.figures.bad_seeds.append(self.seed)
            if self.is_ready(product):
                self.figures.complete += 1
                self.figures.wrongly_complete += bool(faults)
                self.figures.complete_before_a_late_row += bool(wrong) and not faults

    def run_pass(self) -> None:
        """Scan, plan, ask, judge and count as the engine does."""
        window = self.window()
        self.paused.clear()
        self.changed_beside.clear()
        tally = Tally([(product.series, window) for product in self.tracked])
        by_series = {product.series: product for product in self.tracked}
        tally.add_scan(list(by_series), ScanOutcome(id="scan", findings=tuple(map(self.scan, self.tracked))))
        for series, span, page in plan_pages(tally.due(), self.now, DEFAULT_GRACE_MS):
            self.fetch(by_series[series], tally, span, page, tally.to_audit(series))
        for series, span, page in tally.bridges(self.now):
            self.figures.bridges += 1
            self.fetch(by_series[series], tally, span, page, NOTHING, is_bridge=True)
        self.check_result(tally, window)
        self.note_halts(tally)

    def scan(self, product: Product) -> SpanFinding:
        window = self.window()
        if product.knows_listing:
            ledger = apply_listing(product.known.ledger, product.listing, window - product.candles, STEP, self.now)
            product.known = product.known._replace(ledger=ledger)
        found = self.absent(product, window)
        suspects = find_due_suspects(product.known.ledger, window, self.now, STEP, RULES) & product.candles
        suspects |= self.verify(product, window)
        self.figures.least += fewest(found.due | suspects)
        missing, confirmed, due = (wire_of(spans, STEP) for spans in found)
        return SpanFinding(
            symbol=product.series.symbol,
            timeframe=TIMEFRAME,
            missing=missing,
            confirmed=confirmed,
            due=due,
            suspects=wire_of(suspects, STEP),
        )

    def verify(self, product: Product, window: Interval) -> Intervals:
        """Return slots with candles that are asked for although nothing is wrong with them; all of them in one hour."""
        if WINDOW.stop <= self.now < WINDOW.stop + HOUR:
            return product.candles if self.random.random() < 0.3 else NOTHING
        if self.random.random() > 0.03:
            return NOTHING
        start = self.random.randrange(window.start, window.stop, STEP)
        return Interval(start, min(start + PAGE_SLOTS * STEP, window.stop)) & product.candles

    def fetch(
        self,
        product: Product,
        tally: Tally,
        span: Interval,
        page: Page,
        to_audit: Intervals,
        *,
        is_bridge: bool = False,
    ) -> None:
        """Take a page on its trip."""
        ledger, asked = product.known.ledger, page.interval
        if ledger.where(asked, is_lacked):
            asked = filled_up(asked, min(closed_before(self.now, TIMEFRAME), TRADING.stop), STEP)
        candles = product.candles & asked
        slots = sort_absent(span - candles, ledger, self.now)
        due = (slots.missing if is_bridge else slots.due) & page.wanted
        to_audit &= page.wanted & candles
        outcome = PageOutcome(id="page", symbol=product.series.symbol, timeframe=TIMEFRAME)
        if not (due or to_audit):
            tally.add_page(span, stands(outcome, slots))
            return
        if product.series.symbol in self.paused or self.waits(product, asked, due, to_audit):
            tally.add_page(span, stands(outcome, slots))
            return
        if not is_bridge:
            self.figures.asked_in_vain += (due & ledger.resting(page.interval, self.now)).size(STEP)
        self.figures.requests += 1
        answer = self.exchange.answer(product, asked, self.now)
        if answer is None:
            tally.add_page(span, outcome.model_copy(update={"requests": 1, "error": "not served"}))
            return
        self.merge(product, span, asked, answer, candles)
        left = sort_absent(span - product.candles, product.known.ledger, self.now)
        reopened = ledger.confirmed(WINDOW) - product.known.ledger.confirmed(WINDOW) - span
        update = {"requests": 1, "reopened": wire_of(reopened, STEP)}
        tally.add_page(span, stands(outcome.model_copy(update=update), left), asked)

    def waits(self, product: Product, asked: Interval, due: Intervals, to_audit: Intervals) -> bool:
        """Whether a page waits for a reference that cannot be had yet."""
        if to_audit or due - product.known.ledger.where(asked, awaits_reference):
            return False
        venue = self.obtain(product, asked, Venue())
        return not (venue.has_reference or venue.is_hopeless)

    def merge(self, product: Product, span: Interval, asked: Interval, answer: Answer, candles: Intervals) -> None:
        """Judge an answer, with a reference where one proves more, and write what it proves."""
        answer, repaired = self.compare(product, answer, candles)
        venue = self.note_newest(answer)
        verdict = judge(product.known, answer, candles, venue, STEP, slots=span)
        if verdict.is_contradicted:
            self.figures.contradicted += 1
            self.paused.add(product.series.symbol)
        elif verdict.is_whole and verdict.witnesses.size(STEP) >= TRUSTED_WITNESSES:
            self.paused.clear()
        if verdict.wants_reference is not None:
            venue = self.obtain(product, Interval(asked.start, verdict.wants_reference), venue)
            verdict = judge(product.known, answer, candles, venue, STEP, slots=span)
        self.figures.late += verdict.late
        if verdict.removable:
            self.figures.ghosts_removed += verdict.removable.size(STEP)
            self.changed_beside.add(product.series.symbol)
        self.figures.withdrawn += (product.known.exists - verdict.known.exists).size(STEP)
        product.known = verdict.known
        product.cut -= repaired
        product.candles = (product.candles | (verdict.usable & span)) - verdict.removable

    def compare(self, product: Product, answer: Answer, candles: Intervals) -> tuple[Answer, set[int]]:
        """Return an answer with the candles that differ from its rows, and those that give way to them."""
        rows = settled_rows(answer, self.note_newest(answer), STEP) & candles
        differing = {at for at in product.cut if rows.holds(at)}
        repaired = {at for at in differing if at + STEP + RIPE_MS <= answer.at}
        doubted = Intervals.of_slots(sorted(differing - repaired), STEP)
        return Answer(answer.asked, answer.at, answer.rows, answer.unusable, answer.is_whole, doubted), repaired

    def note_newest(self, answer: Answer) -> Venue:
        """Return the newest rows of the last five minutes."""
        newest = answer.newest(STEP)
        if self.newest and answer.at - self.newest[1] < SAME_MOMENT_MS:
            newest = max(newest or 0, self.newest[0])
        if newest and newest == answer.newest(STEP):
            self.newest = (newest, answer.at)
        return Venue(newest=newest, newest_alike=newest)

    def obtain(self, product: Product, slots: Interval, venue: Venue) -> Venue:
        """Return the facts about the exchange with a reference for these slots."""
        others = [one for one in self.exchange.products[:2] if one is not product]
        if not others or len(self.exchange.products) < 2:
            return venue._replace(is_hopeless=True)
        chosen = others[0]
        closed = min(closed_before(self.now, TIMEFRAME), TRADING.stop)
        asked = reference_slots(slots, closed, STEP)
        key = (chosen.series.symbol, None if asked.stop == closed else asked.start)
        kept = self.references.get(key)
        if kept is None or not kept.is_current(self.now) or (kept.is_whole and not kept.covers(slots)):
            kept = self.ask_reference(chosen, asked, kept)
        if kept is None:
            return venue
        self.references[key] = kept
        return venue._replace(has_reference=kept.is_whole and kept.covers(slots), is_hopeless=kept.is_hopeless)

    def ask_reference(self, product: Product, asked: Interval, before: Reference | None) -> Reference | None:
        """Ask for a reference; its candles are judged and not written."""
        self.figures.references += 1
        self.changed_beside.add(product.series.symbol)
        answer = self.exchange.answer(product, asked, self.now)
        if answer is None:
            return None
        venue = self.note_newest(answer)._replace(is_hopeless=before is not None and before.is_hopeless)
        product.known = judge(product.known, answer, product.candles & asked, venue, STEP).known
        settled = product.known.ledger.confirmed(asked)
        return note_reference(before, asked, self.now, answer.rows, settled)

    def check_result(self, tally: Tally, window: Interval) -> None:
        """Compare what the pass says with what is known, but for products about which others asked meanwhile."""
        for product, row in zip(self.tracked, tally.result(duration_ms=0).series, strict=True):
            left = self.absent(product, window)
            # A slot that was put in doubt and proved again, in one pass, is told as unresolved.
            is_wrong = row.unresolved < left.missing.size(STEP)
            self.figures.result_is_wrong += is_wrong and product.series.symbol not in self.changed_beside

    def note_halts(self, tally: Tally) -> None:
        """Note halts, as `halt_marking` does."""
        rows = [row for row in tally.absences() if row.confirmed or row.missing]
        if len(rows) < WITNESSES:
            return
        by_series = {product.series: product for product in self.tracked}
        halting = {
            row.series.symbol: by_series[row.series].known.ledger.where(row.slots, can_be_halted)
            & (row.confirmed | row.missing)
            for row in rows
        }
        absences = {
            row.series.symbol: halting[row.series.symbol]
            for row in rows
            if not row.missing - halting[row.series.symbol]
        }
        halts = find_halts(absences, rows[0].slots, STEP)
        for row in rows:
            product = by_series[row.series]
            known = apply_halts(product.known, halts) if halting[row.series.symbol] & halts else product.known
            self.figures.halted += known != product.known
            product.known = known


def stands(outcome: PageOutcome, slots: AbsentSlots) -> PageOutcome:
    """Return the outcome of a page with how its slots stand."""
    runs = {"unresolved": wire_of(slots.missing, STEP), "confirmed": wire_of(slots.confirmed, STEP)}
    return outcome.model_copy(update=runs)


def fewest(slots: Intervals) -> int:
    """Return the least number of pages: lay one at the oldest slot left, again and again."""
    pages, reach = 0, -1
    for at in slots.slots(STEP):
        if at >= reach:
            pages, reach = pages + 1, at + PAGE_SLOTS * STEP
    return pages


def check(worlds: range, tell_figure) -> None:
    figures = Figures()
    for seed in worlds:
        World(seed, figures).run()
    told = ", ".join(f"{one.name} {getattr(figures, one.name)}" for one in fields(figures))
    tell_figure(f"random worlds: {told}")
    assert figures.requests <= figures.least + figures.bridges
    for name in (
        "wrongly_complete", "wrongly_empty", "wrongly_empty_at_the_end", "asked_in_vain",
        "result_is_wrong", "unready_at_the_end",
    ):  # fmt: skip
        assert getattr(figures, name) == 0, name
    # The worlds are as bad as they are meant to be.
    for name in ("contradicted", "late", "complete", "references"):
        assert getattr(figures, name) > 0, name


@pytest.mark.parametrize(
    "worlds", [8, pytest.param(24, marks=pytest.mark.slow), pytest.param(1_000, marks=pytest.mark.soak)]
)
def test_every_world_ends_right(tell_figure, worlds):
    check(range(worlds), tell_figure)

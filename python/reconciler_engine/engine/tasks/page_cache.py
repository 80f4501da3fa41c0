"""One page in the cache: reads the slots that lack a candle, and merges the exchange's answer with its proofs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler_engine.coinbase.candles import CandlePage
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, page_outcome
from reconciler_engine.engine.tasks.page_request import PageReply
from reconciler_engine.engine.tasks.scan import scan
from reconciler_engine.errors import StoreError, StoreFull, own_fault
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import counted
from reconciler_engine.planning.answers import Answer, Venue, closed_slots, settled_rows
from reconciler_engine.planning.audit import Copy, find_doubts
from reconciler_engine.planning.ghosts import is_lacked
from reconciler_engine.planning.hand_marks import drop_changed, is_accepted
from reconciler_engine.planning.ledger import Ledger, State
from reconciler_engine.planning.pages import filled_up
from reconciler_engine.planning.proof import Verdict, awaits_reference, judge
from reconciler_engine.planning.sightings import LATE_REACH_MS
from reconciler_engine.planning.states import AbsentSlots, sort_absent
from reconciler_engine.planning.window import closed_before
from reconciler_engine.store.candles import CandleStore, ProvenMerge
from reconciler_engine.store.client.reply_shapes import MOST_MS
from reconciler_engine.store.evidence import EvidenceStore, LedgerRead
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.verified_fields import digest_of

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageLook:
    """The state of a page's slots in the cache, read under the page's claim.

    Attributes:
        asked: Slots to ask for.
        slots: Slots of the span without a candle.
        present: Slots of `asked` with a candle.
        is_wanted: Whether the page is worth a request.
        awaits_reference: Whether a reference must come first, because two answers lacked every slot worth the request.
        known: Evidence on `asked`.
        copies: Candles in `asked` by open time; empty if the page is surely not worth a request.
        verified: Slots of `copies` whose candle is verified.
        fresh: Slots of `verified` whose candle need not be compared again.
    """

    asked: Interval
    slots: AbsentSlots
    present: Intervals
    is_wanted: bool
    awaits_reference: bool
    known: LedgerRead
    copies: Mapping[int, Copy] = field(default_factory=dict)
    verified: Intervals = NOTHING
    fresh: Intervals = NOTHING

    def fresh_in(self, span: Interval) -> Intervals:
        """Return the slots of a span whose candles are fresh and not suspect."""
        return (self.fresh - _doubted(self.known.ledger, span)) & span


class PageCache:
    """Reads pages and merges their answers; the cache holds either all of a merge, proofs included, or none of it."""

    def __init__(self, candles: CandleStore, evidence: EvidenceStore, clock: SharedClock) -> None:
        self._candles = candles
        self._evidence = evidence
        self._clock = clock

    async def look(self, task: PageTask) -> PageLook:
        """Read the state of a page's slots, and whether they are worth a request.

        Raises:
            StoreError: The cache could not be read, or readers use another layout for the series.
        """
        series, asked, now = task.span.series, task.asked_slots, await self._clock.now()
        absent, known = await self._read(series, asked)
        if known.ledger.where(asked, is_lacked):
            # A candle that an answer lacked is settled only beside thirty witnesses, so the page is filled up.
            step = series.timeframe.step_ms
            asked = filled_up(asked, closed_before(now, series.timeframe, task.rules.grace_ms), step)
            absent, known = await self._read(series, asked)
        slots = sort_absent(absent & task.span.interval, known.ledger, now)
        has_gaps = task.is_worth_asking(slots)
        copies = await self._candles.copies(series, asked) if has_gaps or task.to_audit else {}
        times = await self._verified(series, asked, copies, known)
        fresh = _slots_of((slot for slot, at in times.items() if at >= task.stale_before), series)
        has_candles = task.has_unverified(fresh - _doubted(known.ledger, asked))
        is_wanted = has_gaps or has_candles
        misplaced = await self._candles.find_misplaced(
            [] if task.rules.allow_other_layout or not is_wanted else [series]
        )
        if misplaced and misplaced[0] is not None:
            raise misplaced[0]
        waiting = known.ledger.where(asked, awaits_reference)
        others = slots._replace(missing=slots.missing - waiting, due=slots.due - waiting)
        return PageLook(
            asked,
            slots,
            present=asked - absent,
            is_wanted=is_wanted,
            awaits_reference=has_gaps and not has_candles and not task.is_worth_asking(others),
            known=known,
            copies=copies,
            verified=_slots_of(times, series),
            fresh=fresh,
        )

    async def _verified(
        self, series: Series, asked: Interval, copies: Mapping[int, Copy], known: LedgerRead
    ) -> dict[int, int]:
        """Return the instant of verification of each verified candle (ms UTC), by slot; accepted ones are never stale.

        Raises:
            StoreError: The digests could not be read.
        """
        if not copies:
            return {}
        noted = await self._evidence.verified(series, asked)
        times = {}
        for slot, copy in copies.items():
            if is_accepted(known.known, slot, copy.member):
                times[slot] = MOST_MS
            elif slot in noted and noted[slot].digest == digest_of(copy.member):
                times[slot] = noted[slot].at
        return times

    async def _read(self, series: Series, asked: Interval) -> tuple[Intervals, LedgerRead]:
        """Return the slots of an interval without a candle, and the evidence on it and on the hours around it.

        Raises:
            StoreError: The slots or the evidence could not be read.
        """
        (found,) = await scan(self._candles, [(series, asked)], confirm_ms=0)
        around = Interval(max(asked.start - LATE_REACH_MS, 0), asked.stop + LATE_REACH_MS)
        (known,) = await self._evidence.read([(series, around)])
        for error in (found.error, known.error):
            if error is not None:
                raise error
        return Intervals.of_gaps(found.gaps, series.timeframe.step_ms), known

    def judge(self, task: PageTask, look: PageLook, answer: Answer, venue: Venue) -> Verdict:
        """Return the verdict of an answer on a page, without writing it."""
        step, slots = task.span.timeframe.step_ms, task.span.interval
        known = drop_changed(look.known.known, look.asked, {at: one.member for at, one in look.copies.items()})
        return judge(known, answer, look.present, venue, step, slots=slots, grace_ms=task.rules.grace_ms)

    async def merge(
        self, task: PageTask, look: PageLook, reply: PageReply, page: CandlePage, venue: Venue
    ) -> PageOutcome:
        """Write candles into absent slots and over suspect ones that are due, together with the answer's proofs.

        A repeated merge is harmless. An error of this series alone, such as a key of another type, is returned in the
        outcome.

        Raises:
            StoreError: Redis is away or full; whether the merge took effect is unknown.
        """
        series, step, at, rules = task.span.series, task.span.timeframe.step_ms, reply.at, task.rules
        absent = look.slots.missing | look.slots.confirmed
        answer = answer_of(page, look.asked, at, step)
        members = {at: copy.member for at, copy in look.copies.items()}
        final = closed_slots(at, rules.audit.settle_ms, step)
        compared = settled_rows(answer, venue, step) & look.present & Intervals.of_slots(sorted(members), step) & final
        comparable = (one for one in page.candles if compared.holds(one.timestamp))
        try:
            proven = await self._candles.merge_answer(
                series,
                [one for one in page.candles if absent.holds(one.timestamp)],
                task.keeping,
                replace(answer, uncompared=(answer.rows & look.present) - compared),
                look.present,
                slots=task.span.interval,
                venue=venue,
                known=look.known,
                members=members,
                removes=rules.audit.repairs,
                settle_ms=rules.audit.settle_ms,
                doubts=find_doubts(look.copies, comparable, at, step, rules.audit),
                verified=look.verified,
                grace_ms=rules.grace_ms,
                announce_close=rules.announce_close,
                by=task.run,
            )
        except StoreFull:
            # The caller keeps the answer and tries again until Redis has room.
            raise
        except StoreError as refused:
            return page_outcome(task, look.slots, requests=reply.requests, error=str(own_fault(refused)))
        _log_surprises(series, page, proven)
        merged = proven.outcome
        filled = Intervals.of_slots(sorted({*merged.inserted, *merged.present, *merged.differing}), step)
        ledger = proven.verdict.known.ledger
        slots = sort_absent((absent - filled) | proven.removed, ledger, at)
        undecided = slots.missing & answer.unusable if answer.is_whole else slots.missing
        verified = look.fresh | Intervals.of_slots(merged.verified, step)
        return page_outcome(
            task,
            slots,
            requests=reply.requests,
            verified=(verified - _doubted(ledger, task.span.interval)) & task.span.interval,
            again_at=ledger.next_check(slots.missing | _doubted(ledger, task.span.interval), at),
            mismatched=len(merged.differing) + proven.doubted,
            repaired=len(merged.changed) + len(merged.rewritten),
            rewritten=len(merged.rewritten),
            error=_merge_fault(proven, task.keeping.max_candles, step),
            undecided=undecided,
            removed=proven.removed,
            reopened=_reopened(look.known.ledger, proven.verdict, answer.asked) - task.span.interval,
            fault=page.fault if undecided else None,
        )

    async def note_answer(
        self, series: Series, answer: Answer, venue: Venue, keeping: Retention, *, grace_ms: int
    ) -> Intervals:
        """Write the proofs of an answer, without its candles; return the slots now confirmed to have no candle.

        Raises:
            StoreError: The cache could not be read or written.
        """
        absent, known = await self._read(series, answer.asked)
        present = answer.asked - absent
        seen = replace(answer, uncompared=answer.rows & present)
        proven = await self._candles.merge_answer(
            series, (), keeping, seen, present, venue=venue, known=known, grace_ms=grace_ms
        )
        return proven.verdict.known.ledger.confirmed(answer.asked)


def answer_of(page: CandlePage, asked: Interval, at: int, step: int) -> Answer:
    """Return a page that was asked for at `at` (ms UTC) as evidence on the slots in `asked`.

    The answer's oldest and newest rows count even beyond these slots: they show that it covers the time around.
    """
    rows = {candle.timestamp for candle in page.candles}
    rows |= {one for one in (page.oldest, page.newest) if one is not None}
    unusable = Intervals.of_slots(page.unusable, step)
    return Answer(asked, at, Intervals.of_slots(sorted(rows), step), unusable, is_whole=page.covering)


def _slots_of(open_times: Iterable[int], series: Series) -> Intervals:
    return Intervals.of_slots(sorted(open_times), series.timeframe.step_ms)


def _doubted(ledger: Ledger, slots: Interval) -> Intervals:
    """Return the slots whose candles are suspect."""
    return ledger.in_state(slots, State.SUSPECT)


def _reopened(before: Ledger, verdict: Verdict, asked: Interval) -> Intervals:
    """Return the slots in reach of an answer that were confirmed before it and are no longer."""
    reach = Interval(max(asked.start - LATE_REACH_MS, 0), asked.stop + LATE_REACH_MS)
    return before.confirmed(reach) - verdict.known.ledger.confirmed(reach)


def _merge_fault(proven: ProvenMerge, max_candles: int, step: int) -> str | None:
    """Return the gravest fault of a merge in words; None for a merge without faults."""
    merged = proven.outcome
    if merged.refused:
        return (
            f"{len(merged.refused)} candles not written: the cache keeps the newest {max_candles} "
            "members and would have dropped them again"
        )
    if proven.is_foreign:
        return (
            "the answer opens unlike more than a fifth of the candles here, as another product's would; "
            "nothing of it is used until a second one agrees"
        )
    if proven.verdict.is_contradicted:
        return (
            f"the exchange left out {counted(proven.verdict.lacking.size(step), 'candle')} that the cache knows; "
            "its answer proves no slot empty"
        )
    if merged.unannounced:
        return f"repaired, and not announced on channel:candle:repaired: {merged.unannounced}"
    return None


def _log_surprises(series: Series, page: CandlePage, proven: ProvenMerge) -> None:
    if page.fault is not None:
        _logger.warning("bad rows", extra={"series": str(series), "fault": page.fault})
    if proven.verdict.late:
        _logger.info("late candles", extra={"series": str(series), "slots": proven.verdict.late})
    if proven.doubted:
        merged = proven.outcome
        repaired, rewritten = len(merged.changed) + len(merged.rewritten), len(merged.rewritten)
        facts = {"series": str(series), "slots": proven.doubted, "repaired": repaired, "rewritten": rewritten}
        _logger.debug("candles differ from the exchange's", extra=facts)

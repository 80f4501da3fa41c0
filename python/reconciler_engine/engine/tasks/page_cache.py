"""One page in the cache: the slots it lacks, and the merge of the exchange's answer with what that proves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler_engine.coinbase.candles import CandlePage
from reconciler_engine.engine.clock import SharedClock
from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, page_outcome
from reconciler_engine.engine.tasks.page_request import PageReply
from reconciler_engine.engine.tasks.scan import scan
from reconciler_engine.errors import StoreError, StoreFull, own_fault
from reconciler_engine.market.interval import Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.absent_slots import AbsentSlots, sort_absent
from reconciler_engine.planning.audit import AuditRules, Copy, find_doubts
from reconciler_engine.planning.proof import Answer
from reconciler_engine.planning.window import closed_before
from reconciler_engine.store.candles import CandleStore, ProvenMerge
from reconciler_engine.store.evidence import EvidenceStore, LedgerRead

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageLook:
    """The cache's state of a page's slots, read under the page's claim.

    Attributes:
        slots: The slots of its span without a candle.
        is_wanted: Whether the page is worth a request.
        known: The evidence about them.
        copies: The candles in what it asks for, by open time; read of a page that is wanted.
    """

    slots: AbsentSlots
    is_wanted: bool
    known: LedgerRead
    copies: Mapping[int, Copy] = field(default_factory=dict)


class PageCache:
    """Looks at pages and merges them. At any moment the cache holds all of a merge, with what it proves, or none."""

    def __init__(
        self,
        candles: CandleStore,
        evidence: EvidenceStore,
        clock: SharedClock,
        *,
        grace_ms: int,
        audit_rules: AuditRules,
    ) -> None:
        self._candles = candles
        self._evidence = evidence
        self._clock = clock
        self._grace_ms = grace_ms
        self._audit_rules = audit_rules

    async def look(self, task: PageTask) -> PageLook:
        """Read which slots of a page's span lack a candle, and whether they are worth a request.

        Raises:
            StoreError: The cache could not be read.
        """
        series, span = task.span.series, task.span.interval
        (found,) = await scan(self._candles, [(series, span)], confirm_ms=0)
        (known,) = await self._evidence.read([(series, span)])
        for error in (found.error, known.error):
            if error is not None:
                raise error
        absent = Intervals.of_gaps(found.gaps, series.timeframe.step_ms)
        slots = sort_absent(absent, known.ledger, await self._clock.now())
        if not task.is_worth_asking(slots):
            return PageLook(slots, is_wanted=False, known=known)
        copies = await self._candles.copies(series, task.asked_slots)
        return PageLook(slots, is_wanted=True, known=known, copies=copies)

    async def merge(self, task: PageTask, look: PageLook, reply: PageReply, page: CandlePage) -> PageOutcome:
        """Merge candles of absent slots and of doubted ones that are due, with what the answer proves.

        Repeating it is harmless. An error of the series' own, such as a key of another type, ends in the outcome.

        Raises:
            StoreError: Redis is away or full; whether the merge took effect is unknown.
        """
        series, step, at = task.span.series, task.span.timeframe.step_ms, reply.at
        absent = look.slots.missing | look.slots.confirmed
        closed = closed_before(at, series.timeframe, self._grace_ms)
        useful = [one for one in page.candles if one.timestamp < closed and absent.holds(one.timestamp)]
        others = (one for one in page.candles if not absent.holds(one.timestamp))
        try:
            proven = await self._candles.merge_answer(
                series,
                useful,
                task.keeping,
                # Rows of slots that another page looks after are candles beside this one's, no more.
                replace(answer_of(page, at), asked=task.span.interval),
                absent,
                known=look.known,
                doubts=find_doubts(look.copies, others, at, step, self._audit_rules, grace_ms=self._grace_ms),
                grace_ms=self._grace_ms,
                by=task.run,
            )
        except StoreFull:
            # Asked for already: the answer is kept until there is room.
            raise
        except StoreError as refused:
            return page_outcome(task, look.slots, requests=reply.requests, error=str(own_fault(refused)))
        _log_surprises(series, page, proven)
        merged = proven.outcome
        filled = Intervals.of_slots(sorted({*merged.inserted, *merged.present, *merged.differing}), step)
        slots = sort_absent(absent - filled, proven.verdict.ledger, at)
        undecided = slots.missing & Intervals.of_slots(page.unusable, step) if page.covering else slots.missing
        return page_outcome(
            task,
            slots,
            requests=reply.requests,
            mismatched=len(merged.differing) + proven.doubted,
            repaired=len(merged.changed),
            error=_merge_fault(proven, task.keeping.max_candles),
            undecided=undecided,
            fault=page.fault if undecided else None,
        )


def answer_of(page: CandlePage, at: int) -> Answer:
    """Return a page that was asked for at `at` (ms UTC) as evidence: its rows, and the one beyond each of its ends."""
    rows = [candle.timestamp for candle in page.candles]
    if page.oldest is not None and page.oldest < page.interval.start:
        rows.insert(0, page.oldest)
    if page.newest is not None and page.newest >= page.interval.stop:
        rows.append(page.newest)
    return Answer(page.interval, at, rows, page.covering, unusable=page.unusable)


def _merge_fault(proven: ProvenMerge, max_candles: int) -> str | None:
    """Return the gravest thing to tell of a merge, None where there is nothing."""
    merged = proven.outcome
    if merged.refused:
        return (
            f"{len(merged.refused)} candles not written: the cache keeps the newest {max_candles} "
            "members and would have dropped them again"
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
        facts = {"series": str(series), "slots": proven.doubted, "repaired": len(proven.outcome.changed)}
        _logger.info("candles unlike the exchange's", extra=facts)

"""Scan: reads series, detects missing slots, and reads these a second time before reporting them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from reconciler_engine.detection import detect_gaps
from reconciler_engine.engine.tasks.messages import ScanOutcome, ScanTask, SeriesSpan, SpanFinding, wire_of
from reconciler_engine.errors import NodeAway, NodeUnavailable, StoreError, own_fault
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.audit import find_due_suspects
from reconciler_engine.planning.ledger import Ledger, State
from reconciler_engine.planning.states import sort_absent
from reconciler_engine.store.candle_reads import SlotsRead, join_timestamps
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore, LedgerRead
from reconciler_engine.store.listings import note_listing

CONFIRM_MS = 250
"""Pause before the second read of a gap (ms): the feeder's remove-then-add leaves holes that last one round trip."""


@dataclass(frozen=True, slots=True)
class SpanScan:
    """Result of the scan of a span.

    Attributes:
        gaps: Closed slots without a candle in any of the reads.
        duplicates: Open times that several candles share.
        malformed: Slots of members that are not candles of the series.
        error: Why the span could not be read; the other fields are then empty.
        unverified: Open times of unverified candles, without fillers; empty if not asked for.
        changed: Open times of `unverified` whose candle replaced a verified one, or shares its slot, in every read.
    """

    gaps: tuple[Gap, ...] = ()
    duplicates: tuple[int, ...] = ()
    malformed: tuple[int, ...] = ()
    error: StoreError | None = None
    unverified: Sequence[int] = ()
    changed: Sequence[int] = ()

    @property
    def is_clean(self) -> bool:
        """Whether the span was read and is complete, regular and verified."""
        return not (self.unverified or self.error or self.is_fleeting)

    @property
    def is_fleeting(self) -> bool:
        """Whether a finding may disappear in a second read."""
        return bool(self.gaps or self.duplicates or self.malformed or self.changed)


async def scan(
    store: CandleStore,
    wanted: Sequence[tuple[Series, Interval]],
    *,
    confirm_ms: int,
    turn: trio.Lock | None = None,
    digests: bool = False,
) -> list[SpanScan]:
    """Return the missing slots of each span, in the order asked; with `digests` also the unverified candles.

    Spans with missing slots or other fleeting findings are read a second time after `confirm_ms` (0: never). A slot is
    missing only if its candle was absent in both reads. The lock `turn` is held during each read, not between them.
    """
    turn = turn or trio.Lock()
    async with turn:
        first = await store.read(wanted, digests=digests)
    scans = [_examine(series, interval, [read]) for (series, interval), read in zip(wanted, first, strict=True)]
    doubtful = [index for index, found in enumerate(scans) if found.is_fleeting]
    if not doubtful or confirm_ms == 0:
        return scans
    await trio.sleep(confirm_ms / 1_000)
    async with turn:
        second = await store.read([wanted[index] for index in doubtful], digests=digests)
    for index, again in zip(doubtful, second, strict=True):
        scans[index] = _examine(*wanted[index], [first[index], again])
    return scans


def _examine(series: Series, interval: Interval, reads: Sequence[SlotsRead]) -> SpanScan:
    """Judge a span by all its reads: a candle seen in any read counts, everything else is as in the last read.

    A filler (a candle that the feeder writes for a slot without trades) does not count as a candle.
    """
    last = reads[-1]
    if last.is_whole and not last.unverified:
        return _CLEAN
    if last.error is not None:
        return SpanScan(error=last.error)
    changed = sorted(set(last.changed).intersection(*(read.changed for read in reads)))
    if last.is_whole:
        return SpanScan(unverified=last.unverified, changed=changed)
    seen = last.timestamps if len(reads) == 1 else join_timestamps(reads)
    step = series.timeframe.step_ms
    gaps = tuple(detect_gaps(seen, interval.grid(step)))
    if last.fillers:
        gaps = (Intervals.of_gaps(gaps, step) | Intervals.of_slots(last.fillers, step)).gaps(step)
    if not gaps and not last.duplicates and not last.malformed and not last.unverified:
        return _CLEAN
    return SpanScan(gaps, tuple(last.duplicates), tuple(last.malformed), unverified=last.unverified, changed=changed)


_CLEAN = SpanScan()
_NOTHING_KNOWN = LedgerRead(Ledger())


async def perform_scan(
    store: CandleStore, evidence: EvidenceStore, task: ScanTask, turn: trio.Lock | None = None
) -> ScanOutcome:
    """Do a scan task: find missing slots and, if it asks for repair, clean slots with several members.

    The ledger is read for spans with gaps, or for all spans if the task asks for suspects. An error of one series is
    returned in its finding. Slots whose ledger cannot be read are missing but not due, since proofs could not be
    stored.

    Raises:
        StoreUnavailable: Redis, or a node that the task waits for, cannot be reached; slots already cleaned stay clean.
    """
    turn = turn or trio.Lock()
    wanted = [(span.series, span.interval) for span in task.spans]
    scans = await scan(store, wanted, confirm_ms=task.confirm_ms, turn=turn, digests=task.digests)
    doubtful = [index for index, found in enumerate(scans) if found.gaps or task.audit is not None]
    async with turn:
        reads = await evidence.read([wanted[index] for index in doubtful]) if doubtful else []
    known = dict(zip(doubtful, reads, strict=True))
    lacking = [index for index, found in enumerate(scans) if found.gaps]
    filled = [] if task.allow_other_layout else lacking
    misplaced = dict(zip(filled, await store.find_misplaced([wanted[index][0] for index in filled]), strict=True))
    findings = []
    put_off = []
    for index, (span, found) in enumerate(zip(task.spans, scans, strict=True)):
        read, layout = known.get(index, _NOTHING_KNOWN), misplaced.get(index)
        if _is_put_off(task, found.error, read.error, layout):
            put_off.append(index)
        else:
            findings.append(await _judge(store, evidence, task, span, found, read, layout))
    told = tuple(finding for finding in findings if finding is not None)
    return ScanOutcome(id=task.id, findings=told, put_off=tuple(put_off))


def _is_put_off(task: ScanTask, unread: StoreError | None, *errors: StoreError | None) -> bool:
    """Whether to put a series off, because its node may be back in a moment.

    Raises:
        StoreError: The task waits for that node, or Redis as a whole cannot be read.
    """
    if unread is not None:
        # A loading server fails every command, so that error does not concern one series only.
        own_fault(unread, waits=task.waits)
    brief = [one for one in (unread, *errors) if isinstance(one, NodeUnavailable) and not isinstance(one, NodeAway)]
    if brief and task.waits:
        raise brief[0]
    return bool(brief)


async def _judge(
    store: CandleStore,
    evidence: EvidenceStore,
    task: ScanTask,
    span: SeriesSpan,
    found: SpanScan,
    read: LedgerRead,
    misplaced: StoreError | None,
) -> SpanFinding | None:
    """Return the finding on a span; None if it is complete and has no due suspect."""
    step = span.timeframe.step_ms
    absent = Intervals.of_gaps(found.gaps, step)
    suspects = NOTHING
    if task.audit is not None:
        suspects = find_due_suspects(read.ledger, span.interval, task.now, step, task.audit) - absent
    if found.is_clean and not suspects and read.error is None:
        return None
    # If a repair fails, its error is reported and the finding is returned all the same.
    errors = [misplaced, found.error, read.error]
    ledger = read.ledger
    unclean = sorted({*found.duplicates, *found.malformed})
    try:
        if task.repair and unclean:
            await store.merge(span.series, (), task.keeping, duplicated=unclean, by=task.run)
    except StoreError as refused:
        errors.append(own_fault(refused))
    try:
        retention = task.keeping if task.repair and read.error is None else None
        ledger = await note_listing(evidence, span.series, absent, ledger, span.listing, task.now, retention)
    except StoreError as refused:
        errors.append(own_fault(refused))
    # If the evidence cannot be read, no slot is due, since proofs could not be stored.
    slots = sort_absent(absent, ledger, task.now)
    doubted = ledger.in_state(span.interval, State.SUSPECT) - absent
    unverified = Intervals.of_slots(found.unverified, step) - doubted
    waiting = ledger.waiting(span.interval, task.now)
    return SpanFinding(
        symbol=span.symbol,
        timeframe=span.timeframe,
        unread=found.error is not None,
        missing=wire_of(slots.missing, step),
        confirmed=wire_of(slots.confirmed, step),
        due=wire_of(slots.due, step) if read.error is None and misplaced is None else (),
        suspects=wire_of(suspects, step) if found.error is None else (),
        unverified=wire_of(unverified - waiting, step),
        resting=wire_of(unverified & waiting, step),
        changed=wire_of(Intervals.of_slots(found.changed, step), step),
        again_at=ledger.next_check(slots.missing | doubted | unverified, task.now),
        duplicates=len(found.duplicates),
        malformed=len(found.malformed),
        error=next((str(error) for error in errors if error is not None), None),
    )

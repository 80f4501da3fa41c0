"""Messages between a pass and its workers through Redis: tasks to workers, outcomes back.

Messages from Redis are validated like any other input: an invalid one is logged and dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from reconciler_engine.engine.tasks.work_rules import WorkRules
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series, check_symbol
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.audit import AuditRules
from reconciler_engine.planning.listing import Listing
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.states import AbsentSlots
from reconciler_engine.store.retention import Retention

_Instant = Annotated[int, Field(ge=0, le=2**53)]
_Count = Annotated[int, Field(ge=0, le=2**53)]
_Wire = tuple[_Instant, Annotated[int, Field(ge=1, le=2**53)]]
"""An interval on the wire: its first open time (ms) and its number of slots."""


_Name = Annotated[str, Field(max_length=200)]
"""An id of a run or a task: it becomes part of keys."""

SCAN_SLOTS = 70_000_000
"""Most slots of one scan: more than the minutes from 1970 to 2100. A longer scan would keep a worker for ever."""

_Symbol = Annotated[str, AfterValidator(check_symbol)]
"""A product id: it becomes part of keys and URLs."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)


class _OfSeries(_Message):
    symbol: _Symbol
    timeframe: Timeframe

    @property
    def series(self) -> Series:
        """Series of the message."""
        return Series(self.symbol, self.timeframe)


class SeriesSpan(_OfSeries):
    """A series and an interval of it, with the times of its product's listing if these are known."""

    start: _Instant
    stop: _Instant
    listed_at: _Instant | None = None
    delisted_at: _Instant | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"stop {self.stop} lies before start {self.start}")
        return self

    @classmethod
    def of(cls, series: Series, interval: Interval, listing: Listing | None = None) -> SeriesSpan:
        """Make the message for an interval of a series."""
        return cls(
            symbol=series.symbol,
            timeframe=series.timeframe,
            start=interval.start,
            stop=interval.stop,
            listed_at=None if listing is None else listing.listed_at,
            delisted_at=None if listing is None else listing.delisted_at,
        )

    @property
    def listing(self) -> Listing:
        """Time in which the product can have candles."""
        return Listing(self.listed_at, self.delisted_at)

    @property
    def interval(self) -> Interval:
        """Interval of the message."""
        return Interval(self.start, self.stop)


class ScanTask(_Message):
    """Task to read spans and report the slots missing at `now` (ms UTC); with `repair` it also removes duplicates.

    With `audit` rules it also reports suspect candles that are worth a request at `now`; with `digests`, unverified
    candles. `allow_other_layout` permits keys of a layout that readers do not use. If a cluster node is away for a
    moment, the worker waits for it if `waits` is set, and otherwise puts its series off.
    """

    kind: Literal["scan"] = "scan"
    run: _Name
    id: _Name
    now: _Instant
    spans: tuple[SeriesSpan, ...]
    confirm_ms: Annotated[int, Field(ge=0, le=60_000)]
    repair: bool
    audit: AuditRules | None = None
    digests: bool = False
    allow_other_layout: bool = False
    waits: bool = False
    keeping: Retention

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        slots = sum((span.stop - span.start) // span.timeframe.step_ms for span in self.spans)
        if slots > SCAN_SLOTS:
            raise ValueError(f"spans: {slots} slots in one scan; allowed: at most {SCAN_SLOTS}")
        return self


class PageTask(_Message):
    """Task to ask the exchange for one page, with one permit, and to merge the missing candles.

    The request is made for the slots in `gaps` and the candles in `to_audit` (`held` on the wire); its answer also
    settles the other slots of the span. The request covers `asked` (start and stop, ms), which reaches beyond the span:
    the candles there are witnesses, and all cached candles in `asked` are audited. A `bridge` asks again for slots that
    were asked for shortly before, because its page covers both sides of a border. With `pauses`, the page is left to
    the next pass if an answer in this run lacked candles of its series. Candles whose last verification is older than
    `stale_before` (ms UTC) are compared again. The worker follows the task's `rules`, not its own engine's settings.
    """

    kind: Literal["page"] = "page"
    run: _Name
    id: _Name
    span: SeriesSpan
    asked: tuple[_Instant, _Instant]
    gaps: tuple[_Wire, ...]
    to_audit: tuple[_Wire, ...] = Field(default=(), validation_alias="held", serialization_alias="held")
    bridge: bool = False
    pauses: bool = False
    stale_before: _Instant = 0
    rules: WorkRules = WorkRules()
    keeping: Retention

    @property
    def token(self) -> str:
        """Name of the claim on its slots; every delivery of the task has the same."""
        return f"{self.run}/{self.id}"

    @property
    def hull(self) -> Interval:
        """Interval to claim: from the first slot of `gaps` and `to_audit` to the last."""
        step = self.span.timeframe.step_ms
        return (intervals_of(self.gaps, step) | intervals_of(self.to_audit, step)).hull

    @property
    def asked_slots(self) -> Interval:
        """Interval of the request."""
        return Interval(*self.asked)

    def is_worth_asking(self, slots: AbsentSlots) -> bool:
        """Whether the absent slots of the span, in their present state, are worth the request."""
        worth = slots.missing if self.bridge else slots.due
        return bool(worth & intervals_of(self.gaps, self.span.timeframe.step_ms))

    def has_unverified(self, verified: Intervals) -> bool:
        """Whether a candle of `to_audit` is outside the `verified` slots, so that the page is worth the request."""
        return bool(intervals_of(self.to_audit, self.span.timeframe.step_ms) - verified)

    @model_validator(mode="after")
    def _check_page(self) -> Self:
        step = self.span.timeframe.step_ms
        _check_asked(self.span, self.asked, step)
        if not self.gaps and not self.to_audit:
            raise ValueError("gaps and held are both empty; allowed: a page with slots to ask for")
        _check_wire("gaps", self.gaps, self.span, step)
        _check_wire("held", self.to_audit, self.span, step)
        if intervals_of(self.gaps, step) & intervals_of(self.to_audit, step):
            raise ValueError(f"held {self.to_audit} has slots of gaps {self.gaps}; allowed: a slot in one of them")
        return self


def _check_asked(span: SeriesSpan, asked: tuple[int, int], step: int) -> None:
    start, stop = asked
    fields = {"asked start": start, "asked stop": stop, "span start": span.start, "span stop": span.stop}
    for name, bound in fields.items():
        if bound % step:
            raise ValueError(f"{name} {bound} is not on the grid; allowed: multiples of {step}")
    if stop > start + PAGE_SLOTS * step:
        raise ValueError(f"asked {asked} has {(stop - start) // step} slots; allowed: at most {PAGE_SLOTS}")
    if not start <= span.start <= span.stop <= stop:
        raise ValueError(f"span {span.start} to {span.stop} leaves asked {asked}; allowed: an interval inside it")


def _check_wire(name: str, wire: Iterable[tuple[int, int]], span: SeriesSpan, step: int) -> None:
    earliest = span.start
    for start, count in wire:
        stop = start + count * step
        if start % step:
            raise ValueError(f"{name} start {start} is not on the grid; allowed: multiples of {step}")
        if start < earliest or stop > span.stop:
            raise ValueError(f"{name} {start} to {stop}; allowed: ascending, in slots {earliest} to {span.stop}")
        earliest = stop


class SpanFinding(_OfSeries):
    """Finding on a scanned span; a complete span has none.

    If `unread` is set, the span could not be read, for the reason in `error`. Slots without a candle are `missing`, or
    `confirmed` to have none; the slots in `due` are the part of both that is worth a request. `suspects` are slots with
    a suspect candle that is due. `unverified` are slots with an unverified candle; in `changed`, that candle replaced a
    verified one. `resting` are slots with an unverified candle that waits for another answer. At `again_at` (ms UTC)
    the first waiting slot is worth a request.
    """

    unread: bool = False
    missing: tuple[_Wire, ...] = ()
    confirmed: tuple[_Wire, ...] = ()
    due: tuple[_Wire, ...] = ()
    suspects: tuple[_Wire, ...] = ()
    unverified: tuple[_Wire, ...] = ()
    changed: tuple[_Wire, ...] = ()
    resting: tuple[_Wire, ...] = ()
    again_at: _Instant | None = None
    duplicates: _Count = 0
    malformed: _Count = 0
    error: str | None = None


class ScanOutcome(_Message):
    """Findings of a scan task, or the `error` that ended it. `put_off` has the indices of spans left for later."""

    kind: Literal["scan"] = "scan"
    id: _Name
    findings: tuple[SpanFinding, ...] = ()
    put_off: tuple[_Count, ...] = ()
    error: str | None = None

    @property
    def series(self) -> frozenset[Series]:
        """Series with a finding."""
        return frozenset(finding.series for finding in self.findings)


class PageOutcome(_OfSeries):
    """Outcome of a page.

    Slots of the span without a candle are `unresolved`, or `confirmed` to have none; all other slots hold one. If
    `unresolved` is None, the state of all slots is unchanged. `undecided` are missing slots that the answer did not
    help to decide. `mismatched` candles differed from the exchange's; `repaired` of these were replaced, and
    `rewritten` of the replaced ones had been verified before. `requests` were sent for the page, `references` in
    addition. `refused` says that the exchange will never serve this series, `unanswered` that a later request may
    succeed. `verified` are the slots of the span whose candle is now verified. At `again_at` (ms UTC) the first slot
    that waits for another answer is worth a request. `reopened` are slots outside the span that are no longer
    confirmed. `removed` are slots whose candle was removed because the exchange does not have it.
    """

    kind: Literal["page"] = "page"
    id: _Name
    unresolved: tuple[_Wire, ...] | None = None
    confirmed: tuple[_Wire, ...] = ()
    mismatched: _Count = 0
    repaired: _Count = 0
    rewritten: _Count = 0
    requests: _Count = 0
    references: _Count = 0
    refused: bool = False
    unanswered: bool = False
    error: str | None = None
    undecided: tuple[_Wire, ...] = ()
    reopened: tuple[_Wire, ...] = ()
    removed: tuple[_Wire, ...] = ()
    verified: tuple[_Wire, ...] = ()
    again_at: _Instant | None = None
    fault: str | None = None


Task = Annotated[ScanTask | PageTask, Field(discriminator="kind")]
Outcome = Annotated[ScanOutcome | PageOutcome, Field(discriminator="kind")]

task_of: TypeAdapter[ScanTask | PageTask] = TypeAdapter(Task)
outcome_of: TypeAdapter[ScanOutcome | PageOutcome] = TypeAdapter(Outcome)


def wire_of(slots: Intervals, step: int) -> tuple[tuple[int, int], ...]:
    """Convert intervals on a grid of `step` ms to their form in a message."""
    return tuple((one.start, one.size(step)) for one in slots)


def intervals_of(wire: Iterable[tuple[int, int]], step: int) -> Intervals:
    """Convert intervals from their form in a message."""
    return Intervals(Interval(start, start + count * step) for start, count in wire)


def page_outcome(
    task: PageTask,
    slots: AbsentSlots | None,
    *,
    requests: int = 0,
    references: int = 0,
    mismatched: int = 0,
    repaired: int = 0,
    rewritten: int = 0,
    refused: bool = False,
    unanswered: bool = False,
    error: str | None = None,
    undecided: Intervals = NOTHING,
    reopened: Intervals = NOTHING,
    removed: Intervals = NOTHING,
    verified: Intervals = NOTHING,
    again_at: int | None = None,
    fault: str | None = None,
) -> PageOutcome:
    """Return a page's outcome; `slots` are the absent slots of its span, None if these are unknown."""
    step = task.span.timeframe.step_ms
    return PageOutcome(
        id=task.id,
        symbol=task.span.symbol,
        timeframe=task.span.timeframe,
        unresolved=None if slots is None else wire_of(slots.missing, step),
        confirmed=() if slots is None else wire_of(slots.confirmed, step),
        mismatched=mismatched,
        repaired=repaired,
        rewritten=rewritten,
        requests=requests,
        references=references,
        refused=refused,
        unanswered=unanswered,
        error=error,
        undecided=wire_of(undecided, step),
        reopened=wire_of(reopened, step),
        removed=wire_of(removed, step),
        verified=wire_of(verified, step),
        again_at=again_at,
        fault=fault,
    )

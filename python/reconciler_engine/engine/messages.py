"""What a pass and its workers tell each other through Redis: tasks one way, outcomes the other.

What comes out of Redis is checked like any other input: a body that is no task is dropped with a log line.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series, check_symbol
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.store.candles import Retention

_Instant = Annotated[int, Field(ge=0, le=2**53)]
_Count = Annotated[int, Field(ge=0, le=2**53)]
_Run = tuple[_Instant, Annotated[int, Field(ge=1, le=2**53)]]
"""A gap on the wire: first missing open time (ms) and number of slots."""


_Symbol = Annotated[str, AfterValidator(check_symbol)]
"""A product id: it becomes part of keys and URLs."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Span(_Message):
    """A series and the interval of it that is meant."""

    symbol: _Symbol
    timeframe: Timeframe
    start: _Instant
    stop: _Instant

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"stop {self.stop} lies before start {self.start}")
        return self

    @classmethod
    def of(cls, series: Series, interval: Interval) -> Span:
        """Write a series and an interval of it as a message."""
        return cls(symbol=series.symbol, timeframe=series.timeframe, start=interval.start, stop=interval.stop)

    @property
    def series(self) -> Series:
        """The series meant."""
        return Series(self.symbol, self.timeframe)

    @property
    def interval(self) -> Interval:
        """The interval meant."""
        return Interval(self.start, self.stop)


class Keeping(_Message):
    """The retention that a task's merges obey."""

    max_candles: _Count
    ttl_s: _Count
    trim: bool

    @property
    def retention(self) -> Retention:
        """The same, as the store takes it."""
        return Retention(self.max_candles, self.ttl_s, self.trim)


class ScanTask(_Message):
    """Read these spans, say what is missing; clean duplicates on the way where `repair` is set."""

    kind: Literal["scan"] = "scan"
    run: str
    id: str
    spans: tuple[Span, ...]
    confirm_ms: Annotated[int, Field(ge=0, le=60_000)]
    repair: bool
    keeping: Keeping


class PageTask(_Message):
    """Ask the exchange for one page and merge what was missing. One page, one permit.

    What another job was answered after `since` (Redis' clock, ms) is not asked again.
    """

    kind: Literal["page"] = "page"
    run: str
    id: str
    span: Span
    gaps: Annotated[tuple[_Run, ...], Field(min_length=1)]
    keeping: Keeping
    since: _Instant = 0

    @property
    def token(self) -> str:
        """The name under which its slots are claimed: the same however often it is handed out."""
        return f"{self.run}/{self.id}"

    @model_validator(mode="after")
    def _check_page(self) -> Self:
        step = self.span.timeframe.step_ms
        runs = [Interval(start, start + count * step) for start, count in self.gaps]
        if (
            self.span.stop - self.span.start > PAGE_SLOTS * step
            or runs[0].start < self.span.start
            or runs[-1].stop > self.span.stop
            or any(run.start % step for run in runs)
            or any(later.start < earlier.stop for earlier, later in pairwise(runs))
        ):
            raise ValueError("the gaps are no ascending runs on the grid of one page")
        return self


class SpanFinding(_Message):
    """What is noteworthy about a scanned span; a span without a finding is complete.

    `unread` says that nothing is known about it, for the reason in `error`.
    """

    symbol: _Symbol
    timeframe: Timeframe
    unread: bool = False
    gaps: tuple[_Run, ...] = ()
    duplicates: _Count = 0
    malformed: _Count = 0
    error: str | None = None


class ScanOutcome(_Message):
    """What a scan task found; `error` says why it found nothing."""

    kind: Literal["scan"] = "scan"
    id: str
    findings: tuple[SpanFinding, ...] = ()
    error: str | None = None

    @property
    def series(self) -> frozenset[Series]:
        """The series it has findings about."""
        return frozenset(Series(finding.symbol, finding.timeframe) for finding in self.findings)


class PageOutcome(_Message):
    """What became of a page.

    `unresolved` are the slots that are missing still; `refused` says that the exchange will not serve this series,
    however often it is asked.
    """

    kind: Literal["page"] = "page"
    id: str
    symbol: _Symbol
    timeframe: Timeframe
    filled: _Count = 0
    unresolved: tuple[_Run, ...] = ()
    mismatched: _Count = 0
    requests: _Count = 0
    refused: bool = False
    error: str | None = None

    @property
    def series(self) -> Series:
        """The series meant."""
        return Series(self.symbol, self.timeframe)


Task = Annotated[ScanTask | PageTask, Field(discriminator="kind")]
Outcome = Annotated[ScanOutcome | PageOutcome, Field(discriminator="kind")]

task_of: TypeAdapter[ScanTask | PageTask] = TypeAdapter(Task)
outcome_of: TypeAdapter[ScanOutcome | PageOutcome] = TypeAdapter(Outcome)


def runs_of(gaps: Iterable[Gap]) -> tuple[tuple[int, int], ...]:
    """Write gaps as a message carries them."""
    return tuple((gap.start, gap.count) for gap in gaps)


def gaps_of(runs: tuple[tuple[int, int], ...], step: int) -> tuple[Gap, ...]:
    """Read gaps from a message."""
    return tuple(Gap(start, start + (count - 1) * step, count) for start, count in runs)


def page_outcome(
    task: PageTask,
    unresolved: tuple[Gap, ...],
    *,
    requests: int = 0,
    mismatched: int = 0,
    refused: bool = False,
    error: str | None = None,
) -> PageOutcome:
    """Return a page's outcome: all its missing slots are filled but those `unresolved`."""
    return PageOutcome(
        id=task.id,
        symbol=task.span.symbol,
        timeframe=task.span.timeframe,
        filled=sum(count for _, count in task.gaps) - sum(gap.count for gap in unresolved),
        unresolved=runs_of(unresolved),
        mismatched=mismatched,
        requests=requests,
        refused=refused,
        error=error,
    )

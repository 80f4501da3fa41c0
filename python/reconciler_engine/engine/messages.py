"""What a pass and its workers tell each other through Redis: tasks one way, outcomes the other.

What comes out of Redis is checked like any other input: a body that is no task is dropped with a log line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.candles import Retention

_Instant = Annotated[int, Field(ge=0, le=2**53)]
_Count = Annotated[int, Field(ge=0, le=2**53)]
_Run = tuple[_Instant, Annotated[int, Field(ge=1, le=2**53)]]
"""A gap on the wire: first missing open time (ms) and number of slots."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Span(_Message):
    """A series and the interval of it that is meant."""

    symbol: str
    timeframe: Timeframe
    start: _Instant
    stop: _Instant

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
    """Ask the exchange for one page and merge what was missing. One page, one permit."""

    kind: Literal["page"] = "page"
    run: str
    id: str
    span: Span
    gaps: tuple[_Run, ...]
    keeping: Keeping


class SpanFinding(_Message):
    """What is noteworthy about a scanned span; a span without a finding is complete."""

    symbol: str
    timeframe: Timeframe
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


class PageOutcome(_Message):
    """What became of a page. `unresolved` are the slots that are missing still."""

    kind: Literal["page"] = "page"
    id: str
    symbol: str
    timeframe: Timeframe
    filled: _Count = 0
    unresolved: tuple[_Run, ...] = ()
    mismatched: _Count = 0
    requests: _Count = 0
    error: str | None = None


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

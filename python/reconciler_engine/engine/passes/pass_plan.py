"""The plan of a pass: its request, its windows, its pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.passes.agenda import Agenda
from reconciler_engine.engine.tasks.messages import ScanTask, SeriesSpan
from reconciler_engine.engine.tasks.scan import CONFIRM_MS
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.pages import ROOMY_SLOTS, Page, cover, shards, shares, with_margins
from reconciler_engine.planning.timely_bars import TimelyBars
from reconciler_engine.planning.verification import Verify
from reconciler_engine.planning.window import closed_before, range_window, scan_window
from reconciler_engine.store.candle_reads import PIPELINE_MEMBERS
from reconciler_engine.store.listings import Listings
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.task_streams import Lane

Windows = Sequence[tuple[Series, Interval]]
"""Series, and the closed slots of each that a pass examines."""


@dataclass(frozen=True, slots=True)
class PassRequest:
    """Scope of a pass: the series and slots that it examines, and the changes it may make.

    Attributes:
        job: Name in logs and records.
        series: Every series to examine.
        look_back: Window in milliseconds before now, or an explicit interval for all series or for each; clamped to
            closed slots.
        repair: Whether the pass sends requests and writes; if False, it only reports.
        lane: Stream of its page tasks.
        verify: Candles in the cache to ask for.
        horizon_ms: Time ahead (ms); candles that become due within it are asked for, too.
        agenda: Chooses the series to ask for in this run; None for all series.
        ask_s: Time limit for handing out pages (s); None for no limit.
        pauses: Whether a series waits for the next pass after an answer that lacked candles.
        bars: Number of the newest slots, and of the newest members, to which a window in milliseconds is extended.
        stale_before: Requested candles whose last verification is older than this instant (ms UTC) are compared again.
        timely: Judge of whether bars were complete and verified in time; None if the pass does not examine all series.
    """

    job: str
    series: Sequence[Series]
    look_back: int | Interval | Mapping[Series, Interval]
    repair: bool = True
    lane: Lane = Lane.DEEP
    verify: Verify = Verify.NONE
    horizon_ms: int = 0
    agenda: Agenda | None = None
    ask_s: float | None = None
    pauses: bool = False
    bars: int = 0
    stale_before: int = 0
    timely: TimelyBars | None = None


async def windows_of(
    parts: BaseParts,
    series: Sequence[Series],
    look_back: int | Interval | Mapping[Series, Interval],
    now: int,
    *,
    bars: int = 0,
) -> list[tuple[Series, Interval]]:
    """Return the closed slots of each series that a pass at `now` (ms UTC) examines, inside retention.

    Raises:
        StoreError: The newest `bars` members could not be read.
    """
    limits = {"max_candles": parts.config.max_candles, "grace_ms": parts.config.grace_ms}
    if isinstance(look_back, Interval):
        return [(one, range_window(look_back, now, one.timeframe, **limits)) for one in series]
    if isinstance(look_back, Mapping):
        return [(one, range_window(look_back[one], now, one.timeframe, **limits)) for one in series]
    oldest = await parts.keys.oldest_of(series, bars) if bars else [None] * len(series)
    return [
        (one, scan_window(now, one.timeframe, look_back, **limits, bars=bars, oldest_member=member))
        for one, member in zip(series, oldest, strict=True)
    ]


def scan_shards(windows: Windows) -> list[Windows]:
    """Return the windows with slots, in groups that fit into one pipeline; each group becomes a task."""
    wanted = [(series, window) for series, window in windows if window.grid(series.timeframe.step_ms)]
    sizes = (len(window.grid(series.timeframe.step_ms)) for series, window in wanted)
    return [wanted[shard.start : shard.stop] for shard in shards(sizes, PIPELINE_MEMBERS)]


def scan_task(
    run: str,
    name: str,
    windows: Windows,
    request: PassRequest,
    listings: Listings,
    now: int,
    config: ReconciliationConfig,
    retention: Retention,
    *,
    waits: bool,
) -> ScanTask:
    """Return the scan task for windows of a pass; `waits` makes it wait for cluster nodes that are away."""
    return ScanTask(
        run=run,
        id=name,
        now=now,
        spans=tuple(SeriesSpan.of(series, window, listings.by_symbol.get(series.symbol)) for series, window in windows),
        confirm_ms=CONFIRM_MS,
        repair=request.repair,
        audit=None if request.verify is Verify.NONE else config.audit_rules,
        digests=request.verify.looks_at_digests,
        allow_other_layout=config.allow_other_layout,
        waits=waits,
        keeping=retention,
    )


def plan_pages(
    wanted: Iterable[tuple[Series, Interval, Intervals]], now: int, grace_ms: int
) -> list[tuple[Series, Interval, Page]]:
    """Return the fewest pages that cover the due slots, newest first over all series.

    Each page is returned with its series and the examined slots that it is responsible for; these spans do not overlap.
    A page also asks for neighbours that had closed at `now` (ms UTC): candles there let its answer prove more.

    Args:
        wanted: Triples of a series, its examined slots, and its due slots.
        now: The instant of the pass.
        grace_ms: Time after its close within which a bar may still arrive (ms).
    """
    pages: list[tuple[Series, Interval, Page]] = []
    for series, slots, due in wanted:
        step = series.timeframe.step_ms
        closed = closed_before(now, series.timeframe, grace_ms)
        cheapest = cover(due, step)
        owned = shares(cheapest, step, closed)
        for page, own in zip(with_margins(cheapest, step, closed, limit=ROOMY_SLOTS), owned, strict=True):
            pages.append((series, page.interval & own & slots, page))
    return sorted(pages, key=lambda planned: planned[2].wanted.hull.stop, reverse=True)

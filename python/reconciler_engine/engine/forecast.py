"""The forecast: requests of the next run of each job, if it ran now. Sends no request and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.passes.pass_plan import plan_pages, windows_of
from reconciler_engine.engine.passes.survey import SurveyedSeries
from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE, GAP_SCAN, VERIFY, crons_of
from reconciler_engine.engine.verify_run import VERIFY_BARS
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.rounding import ceil_div
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.sums import covered, is_audited, is_settled_empty, nearest_finer
from reconciler_engine.planning.verification import Look, Verify, VerifyRules, choose_due, standing_of, to_verify
from reconciler_engine.planning.verify_load import ScrubLoad, scrub_load, verify_load
from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.zones import load_zone

JOBS = (GAP_SCAN, FULL_RECONCILE, VERIFY)


@dataclass(frozen=True, slots=True)
class JobForecast:
    """The next run of a job.

    Attributes:
        job: Name of the job.
        at: Instant of the next tick (ms UTC); None if the schedule has no more ticks.
        requests: Number of requests, without those for references and second looks.
        duration_ms: Time that the requests take at the full rate of the budget; for the verify run, of its share.
        tick_of: Node of the running engine whose tick it is; None for the tick of the settings' cron expression.
    """

    job: str
    at: int | None
    requests: int
    duration_ms: int
    tick_of: str | None = None


@dataclass(frozen=True, slots=True)
class SeriesForecast:
    """A series with something to do.

    Attributes:
        symbol: Product id.
        timeframe: Name of the timeframe.
        missing: Slots in the window of the full pass without a candle and without a proof that they are empty.
        unverified: Number of unverified candles among the newest ones.
        due_at: Latest instant at which the verify run asks for these (ms UTC); None if all are verified.
        requests: Number of requests by job, without jobs that send none.
        error: Why the series cannot be read; None if it was read.
    """

    symbol: str
    timeframe: str
    missing: int
    unverified: int
    due_at: int | None
    requests: Mapping[str, int]
    error: str | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast as of `at` (ms UTC): the next run of each job, the series with work, and the load of the scrub."""

    at: int
    jobs: tuple[JobForecast, ...]
    series: tuple[SeriesForecast, ...]
    scrub: ScrubLoad | None


async def forecast(parts: Parts, series: Sequence[Series]) -> Forecast:
    """Return the requests of the next gap scan, full pass and verify run over the present state of series.

    For the verify run only the newest `VERIFY_BARS` bars of each series are considered; older bars get the rest of its
    share. A bar that can be proved by the sum of finer ones is assumed to be.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    config = parts.config
    bars = max(config.window_bars, VERIFY_BARS)
    compared = Verify.ALL if config.full_reconcile_verify == "all" else Verify.NONE
    survey = await parts.surveyor.survey(series, config.full_reconcile_window_ms, bars=bars, verify=compared)
    now, per_minute = survey.at, parts.reconciler.verify_per_minute

    async def windows(look_back: int, bars: int) -> dict[Series, Interval]:
        found = await windows_of(parts, series, look_back, now, bars=bars)
        return {one: window.slots(one.timeframe.step_ms) for one, window in found}

    # One survey shows all slots; each job takes those in its own window.
    quick = await windows(config.quick_scan_window_ms, 0)
    full = await windows(config.full_reconcile_window_ms, config.window_bars)
    newest = await windows(0, VERIFY_BARS)
    wanted = {
        GAP_SCAN: {one.series: (one.due - one.candles) & quick[one.series] for one in survey.series},
        FULL_RECONCILE: {one.series: one.due & full[one.series] for one in survey.series},
        VERIFY: _verify_run(survey.series, quick, newest, now, per_minute, config),
    }
    counts = {job: _requests(wanted[job], survey.series, now, config) for job in JOBS}
    # The verify run has a share of the budget, the others all of it.
    rate_per_s = parts.bucket.budget.rate_per_s
    rates = {GAP_SCAN: rate_per_s, FULL_RECONCILE: rate_per_s, VERIFY: per_minute / 60}
    zone = load_zone(config.timezone)
    ticks = {job: CronExpression.parse(cron).next_after(now, zone) for job, cron in crons_of(config).items()}
    jobs = tuple(
        JobForecast(job, ticks[job], counts[job].total(), round(counts[job].total() * 1_000 / rates[job]))
        for job in JOBS
    )
    rows = (_row(one, counts, now, config) for one in survey.series)
    told = tuple(row for row in rows if row.requests or row.error is not None)
    return Forecast(now, jobs, told, await scrub_load_of(parts, series))


async def scrub_load_of(parts: Parts, series: Sequence[Series]) -> ScrubLoad | None:
    """Return the load of comparing kept candles again; None if candles are not kept for good, or the scrub is off.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    config = parts.config
    if config.max_candles or not config.scrub_days:
        return None
    pages = sum(ceil_div(size, PAGE_SLOTS) for size in await parts.keys.sizes(series))
    load = verify_load(series, config.verify_rules, 60 * parts.share.budget.rate_per_s)
    return scrub_load(pages, config.scrub_days, load)


def _verify_run(
    series: Sequence[SurveyedSeries],
    quick: Mapping[Series, Interval],
    newest: Mapping[Series, Interval],
    now: int,
    per_minute: float,
    config: ReconciliationConfig,
) -> dict[Series, Intervals]:
    """Return the slots that a verify run would ask for in the `newest` windows; gaps in `quick` are the gap scan's."""
    rules, others, looks = config.verify_rules, {}, {}
    for one in series:
        window = newest[one.series]
        if one.error is None and window:
            urgent = one.look.urgent & window
            others[one.series] = urgent
            looks[one.series] = Look(
                one.look.unverified & window,
                one.look.changed & window,
                (urgent & one.candles) | (urgent - one.candles - quick[one.series]),
                one.look.again_at,
                window.stop,
            )
    standings = {one: standing_of(look, now, one.timeframe.step_ms, rules) for one, look in looks.items()}
    surveyed = {one.series: one for one in series if one.error is None}
    timeframes = [Timeframe(name) for name in config.timeframes]
    wanted = {}
    for chosen in choose_due(standings, now, per_minute):
        finer = nearest_finer(chosen.timeframe, timeframes)
        beside = None if finer is None else surveyed.get(Series(chosen.symbol, finer))
        left = _left_by_sums(chosen, looks[chosen], beside, now, rules)
        wanted[chosen] = left | others[chosen] if left or looks[chosen].urgent else NOTHING
    return wanted


def _left_by_sums(series: Series, look: Look, finer: SurveyedSeries | None, now: int, rules: VerifyRules) -> Intervals:
    """Return the candles that must be asked for even if all candles with finer ones are equal to their sums."""
    step = series.timeframe.step_ms
    wanted = rules.settled(look.unverified, now, step)
    if finer is None or look.urgent:
        return wanted
    ledger = finer.known.ledger
    there = finer.candles - ledger.in_state(finer.examined, State.SUSPECT)
    shown = rules.settled(there, now, finer.series.timeframe.step_ms) | ledger.where(finer.examined, is_settled_empty)
    agreed = covered(wanted, shown, step)
    rest = wanted - agreed
    if not agreed or to_verify(Look(rest, look.changed & rest), now, step, rules):
        return rest
    return wanted if is_audited(series, agreed) else NOTHING


def _requests(
    wanted: Mapping[Series, Intervals], series: Sequence[SurveyedSeries], now: int, config: ReconciliationConfig
) -> Counter[Series]:
    due = [(one.series, one.examined, slots) for one in series if (slots := wanted.get(one.series, NOTHING))]
    return Counter(page[0] for page in plan_pages(due, now, config.grace_ms))


def _row(
    one: SurveyedSeries, counts: Mapping[str, Counter[Series]], now: int, config: ReconciliationConfig
) -> SeriesForecast:
    step, unverified = one.series.timeframe.step_ms, one.look.unverified
    missing = (one.examined - one.candles - one.known.ledger.confirmed(one.examined)).size(step)
    return SeriesForecast(
        symbol=one.series.symbol,
        timeframe=one.series.timeframe.value,
        missing=0 if one.error is not None else missing,
        unverified=unverified.size(step),
        due_at=max(now, config.verify_rules.due_at(unverified[0].start, step)) if unverified else None,
        requests={job: counts[job][one.series] for job in JOBS if counts[job][one.series]},
        error=one.error,
    )

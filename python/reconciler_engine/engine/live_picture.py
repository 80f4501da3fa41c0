"""The present state of series, for the web pages: read in bounded parts, as a pass reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import make_parts
from reconciler_engine.engine.passes.pass_plan import plan_pages
from reconciler_engine.engine.passes.survey import SurveyedSeries
from reconciler_engine.engine.verify_run import VERIFY_BARS
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.obstacles import describe_obstacles
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.observe.web.coverage_page import COLUMNS, WINDOWS, Picture, Strip
from reconciler_engine.observe.web.series_page import SLOTS, Changed, SeriesView, Slots
from reconciler_engine.observe.words import counted, iso
from reconciler_engine.planning.coverage_picture import Panel, Row, cells_of
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.planning.states import slots_in
from reconciler_engine.planning.verification import Verify
from reconciler_engine.planning.window import scan_window
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.journal import Change, Journal
from reconciler_engine.store.verified_fields import Verified

_TROUBLES = frozenset({State.MISSING, State.SUSPECT, State.UNKNOWN})
_CHANGES = 100
_DUE_TOLD = 5


class LivePicture:
    """Reads series for the web pages by the settings of an engine, without changes or requests."""

    def __init__(self, client: TrioRedis, engine: EngineStatus, settings: Mapping[str, Any]) -> None:
        """Read by `settings`, the settings that the engine stored for its passes.

        Raises:
            ValueError: The settings are of another version.
        """
        self._config = ReconciliationConfig.model_validate(settings)
        self._engine = engine
        self._parts = make_parts(self._config, client, owns_server=False, consumer="")

    async def picture(self, series: Sequence[Series], window: str) -> Picture:
        """Return the states of series in a window named in `WINDOWS`, and the plan of requests for them.

        Raises:
            StoreError: Redis did not answer.
        """
        reach_ms = WINDOWS[window]
        found = await self._parts.surveyor.survey(
            series, reach_ms or 0, bars=0 if reach_ms else SLOTS, verify=Verify.DUE, horizon_ms=0
        )
        budget = self._engine.budget
        rate_per_s = self._parts.bucket.budget.rate_per_s
        if budget is not None:
            rate_per_s = budget.rate_per_s * budget.share
        requests = found.plan.requests
        return Picture(
            found.at,
            [_strip(one) for one in found.series],
            found.plan.missing,
            requests,
            round(requests * 1_000 / rate_per_s) if rate_per_s else 0,
        )

    async def view(self, series: Series) -> SeriesView:
        """Return the states of the newest slots of a series.

        Raises:
            StoreError: Redis did not answer.
        """
        step = series.timeframe.step_ms
        now = await self._parts.clock.now()
        reach = Interval(max(0, now - (SLOTS + 1) * step), now)
        found = await self._parts.surveyor.survey([series], reach, verify=Verify.DUE)
        (one,) = found.series
        if one.error is not None:
            return SeriesView(str(series), found.at, error=one.error)
        verified: dict[int, Verified] = {}
        for part in one.examined.parts(PAGE_SLOTS * step):
            verified |= await self._parts.evidence.verified(series, part)
        changes = await Journal(self._parts.client, self._parts.scope).read([series], since=0, limit=_CHANGES)
        limits = {"max_candles": self._config.max_candles, "grace_ms": self._config.grace_ms}
        bars = max(self._config.window_bars, VERIFY_BARS)
        window = scan_window(found.at, series.timeframe, self._config.full_reconcile_window_ms, **limits, bars=bars)
        due = one.due & window
        told = [f"{counted(each.size(step), 'slot')} from {iso(each.start)}" for each in due[:_DUE_TOLD]]
        if len(due) > _DUE_TOLD:
            told.append(f"{due.size(step) - Intervals(due[:_DUE_TOLD]).size(step)} more")
        missing = slots_in(one.states, State.MISSING)
        return SeriesView(
            str(series),
            found.at,
            list(_slots(one, verified))[::-1],
            [_changed(each) for each in reversed(changes)],
            told,
            len(plan_pages([(series, one.examined, due)], found.at, self._config.grace_ms)) if due else 0,
            (missing - window).size(step),
        )


def _strip(one: SurveyedSeries) -> Strip:
    step = one.series.timeframe.step_ms
    row = Row(str(one.series), one.asked, step, one.states)
    columns = Panel(one.asked, [row]).columns(COLUMNS) if one.asked else 0
    cells = cells_of(row, one.asked, columns) if one.asked else []
    why = describe_obstacles(one.obstacles)
    if unknown := one.slots(State.UNKNOWN):
        why.append(f"{unknown} unknown")
    if one.error is not None:
        why = [one.error]
    words = [None if cell is None else cell.value for cell in cells]
    return Strip(str(one.series), one.asked.start, one.asked.stop, words, ", ".join(why), _since(one, step))


def _since(one: SurveyedSeries, step: int) -> int | None:
    """Return the close of the oldest slot that makes the series unready; None if it has none or cannot be read."""
    if one.error is not None:
        return None
    starts = [each.start for each in one.states if each.state in _TROUBLES]
    starts += [one.overdue[0].start] if one.overdue else []
    return min(starts) + step if starts else None


def _slots(one: SurveyedSeries, verified: Mapping[int, Verified]) -> Iterator[Slots]:
    """Yield the slots in the order of time, grouped where neighbours have the same state and facts."""
    step, ledger = one.series.timeframe.step_ms, one.known.ledger

    def facts(state: State, at: int) -> tuple[str, str, int | None, int | None]:
        finding = ledger.at(at) if state not in {State.PRESENT, State.UNVERIFIED} else None
        noted = verified.get(at) if state is State.PRESENT else None
        reason = "" if finding is None else finding.reason.value
        return state.value, reason, None if finding is None else finding.sightings, None if noted is None else noted.at

    told = ((facts(each.state, at), at) for each in one.states for at in range(each.start, each.stop, step))
    for (state, reason, sightings, at), group in groupby(told, key=lambda each: each[0]):
        opens = [each[1] for each in group]
        yield Slots(opens[0], opens[-1], len(opens), state, reason, sightings, at)


def _changed(change: Change) -> Changed:
    step = change.series.timeframe.step_ms
    last = change.stop - step
    slots = iso(change.start) if last <= change.start else f"{iso(change.start)} to {iso(last)}"
    return Changed(change.at, slots, change.why.value, change.by, change.old, change.new)

"""The pages of one pass: planned from the due slots of its tally, handed to workers, and counted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import count

import trio

from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.engine.passes.pass_plan import PassRequest, plan_pages
from reconciler_engine.engine.passes.run_tasks import LOST, RunTasks, VerifyShare
from reconciler_engine.engine.passes.tally import Tally
from reconciler_engine.engine.tasks.messages import PageOutcome, PageTask, SeriesSpan, page_outcome, wire_of
from reconciler_engine.engine.tasks.work_rules import WorkRules
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.pages import Page


class PageAsking:
    """Hands the pages of a pass to workers, for any number of series at a time, within one time limit for all calls."""

    def __init__(
        self,
        tasks: RunTasks,
        tally: Tally,
        request: PassRequest,
        now: int,
        share: VerifyShare,
        parts: BaseParts,
    ) -> None:
        self._tasks = tasks
        self._tally = tally
        self._request = request
        self._now = now
        self._share = share
        self._parts = parts
        self._numbers = count()
        self._ends = None if request.ask_s is None else trio.current_time() + request.ask_s

    @property
    def has_time(self) -> bool:
        """Whether there is time for more pages."""
        return self._left_s is None or self._left_s > 0

    async def ask(self, series: Collection[Series]) -> frozenset[Series]:
        """Have the due slots of series requested; return the series whose pages were handed out.

        Pages go out newest first, or in the order of `series` if the pass has an agenda.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        planned = plan_pages(self._tally.due(series), self._now, self._parts.config.grace_ms)
        if self._request.agenda is not None:
            order = {one: place for place, one in enumerate(series)}
            planned.sort(key=lambda each: order[each[0]])
        return await self._do(
            self._page_task(f"page-{next(self._numbers)}", *each, self._tally.to_audit(each[0])) for each in planned
        )

    async def ask_bridges(self) -> None:
        """Have slots requested that earlier pages left unproven at their borders.

        Raises:
            StoreError: Redis cannot be reached, or the run's record was lost.
        """
        bridges = enumerate(self._tally.bridges(self._now))
        await self._do(self._page_task(f"bridge-{number}", *each, NOTHING, bridge=True) for number, each in bridges)

    @property
    def _left_s(self) -> float | None:
        return None if self._ends is None else self._ends - trio.current_time()

    async def _do(self, pages: Iterable[PageTask]) -> frozenset[Series]:
        lane = self._request.lane
        tasks: Sequence[PageTask] = list(pages)
        if self._request.verify.is_shared:
            tasks = await self._tasks.do_within(self._share, lane, tasks, self._left_s)
        else:
            await self._tasks.do(lane, tasks)
        outcomes = await self._tasks.outcomes() if tasks else {}
        for task in tasks:
            outcome = outcomes.get(task.id)
            if not isinstance(outcome, PageOutcome) or outcome.series != task.span.series:
                outcome = page_outcome(task, None, unanswered=True, error=LOST)
            self._tally.add_page(task.span.interval, outcome, task.asked_slots)
        return frozenset(task.span.series for task in tasks)

    def _page_task(
        self, name: str, series: Series, span: Interval, page: Page, to_audit: Intervals, *, bridge: bool = False
    ) -> PageTask:
        step = series.timeframe.step_ms
        return PageTask(
            run=self._tasks.run,
            id=self._tasks.part + name,
            span=SeriesSpan.of(series, span),
            asked=(page.interval.start, page.interval.stop),
            gaps=wire_of(page.wanted - to_audit, step),
            to_audit=wire_of(page.wanted & to_audit, step),
            bridge=bridge,
            pauses=self._request.pauses,
            stale_before=self._request.stale_before,
            rules=WorkRules.of(self._parts.config),
            keeping=self._parts.retention,
        )

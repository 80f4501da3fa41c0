"""The verify run: its choice of series each minute, and how it spends the rest of its share of the budget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from math import ceil

from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.pass_metrics import count_pass
from reconciler_engine.engine.passes.agenda import Agenda
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.passes.reconciler import Reconciler
from reconciler_engine.engine.passes.scrub import ScrubMemory
from reconciler_engine.errors import StoreError, own_fault
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.planning.timely_bars import TimelyBars
from reconciler_engine.planning.verification import Verify
from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.zones import load_zone
from reconciler_engine.store.evidence import current_history
from reconciler_engine.store.task_streams import Lane

VERIFY_BARS = 300
"""Number of the newest bars, and members, of each series that the verify run examines: as many as a page holds."""

_VERIFY_ASK_S, _OLDER_ASK_S = 40.0, 10.0
_logger = logging.getLogger(__name__)


class VerifyRun:
    """State of the verify run between its ticks; after a restart it is derived again from Redis.

    Attributes:
        scrubbed: State of the scrub.
        timely: Judge of whether each bar was complete and verified in time, for the objective.
    """

    def __init__(self, job: str, tell: Callable[[str, ReconciliationResult], None]) -> None:
        """Make the verify run under a job's name; `tell` counts a pass and logs it."""
        self._job = job
        self._tell = tell
        self.scrubbed = ScrubMemory()
        self.timely = TimelyBars()
        self._agenda = Agenda()
        self._history: bytes | None = None

    async def request(self, parts: Parts, series: Sequence[Series]) -> PassRequest:
        """Return this minute's pass: over all series at a tick of the gap scan, otherwise over the due ones.

        Raises:
            StoreError: Redis did not answer.
        """
        config, now = parts.config, await parts.clock.now()
        zone = load_zone(config.timezone)
        next_scan = CronExpression.parse(config.gap_scan_cron).next_after(now, zone)
        per_minute = parts.reconciler.verify_per_minute
        history = await current_history(parts.client, parts.scope)
        if history != self._history:
            # Redis failed over and may have lost writes, so all series are examined again.
            self._agenda, self._history = Agenda(), history
        chosen = self._agenda.begin(series, now, per_minute, next_full=next_scan)
        return PassRequest(
            self._job,
            chosen,
            0,
            lane=Lane.VERIFY,
            verify=Verify.DUE,
            agenda=self._agenda,
            ask_s=_VERIFY_ASK_S,
            pauses=True,
            bars=VERIFY_BARS,
            timely=self.timely if chosen is series else None,
        )

    async def go_on(self, parts: Parts, series: Sequence[Series], reconciler: Reconciler) -> None:
        """Spend the rest of the share: on second answers, then older bars, then, if nothing else is due, the scrub.

        Raises:
            StoreError: Redis did not answer.
        """
        await self._ask_both_again(parts, series, reconciler)
        now, pages = await parts.clock.now(), ceil(reconciler.verify_per_minute * _OLDER_ASK_S / 60)
        pages -= await self._verify_older(parts, series, reconciler, now, pages)
        if not parts.config.scrub_days or parts.config.max_candles:
            self.scrubbed.figures = None
        else:
            is_behind = self._agenda.is_behind(now, reconciler.verify_per_minute)
            await self._compare_again(parts, series, reconciler, now, 0 if is_behind else max(pages, 0))

    async def _ask_both_again(self, parts: Parts, series: Sequence[Series], reconciler: Reconciler) -> None:
        """Ask again for bars that differ from the sum of their finer bars, and for the finer bars.

        A difference that remains is reported.
        """

        async def ask(slots: Mapping[Series, Interval], since: int) -> None:
            request = self._older_request(slots, Verify.AGAIN, stale_before=since)
            count_pass(self._job, await reconciler.run_pass(request))

        try:
            await parts.second_looks.look(ask, frozenset(series), await parts.clock.now(), self._job)
        except StoreError as error:
            _logger.warning("disagreements not looked at", extra={"error": str(own_fault(error))})

    async def _verify_older(
        self, parts: Parts, series: Sequence[Series], reconciler: Reconciler, now: int, pages: int
    ) -> int:
        """Verify bars older than the newest ones, about `pages` pages of them; return the number of requests."""
        older = await parts.older_bars.find(series, now, VERIFY_BARS, pages)
        if not older:
            return 0
        result = await reconciler.run_pass(self._older_request(older, Verify.DUE))
        count_pass(self._job, result)
        return result.requests

    async def _compare_again(
        self, parts: Parts, series: Sequence[Series], reconciler: Reconciler, now: int, pages: int
    ) -> None:
        """Compare again the kept bars that were verified longest ago, at most `pages` pages."""
        scrub = parts.scrub(self.scrubbed)
        found = await scrub.find(series, now, pages)
        if not found:
            return
        request = self._older_request(found, Verify.AGAIN, stale_before=now // 1_000 * 1_000)
        result = await reconciler.run_pass(request)
        if result.mismatched:
            self._tell(self._job, result)
        else:
            count_pass(self._job, result)
        await scrub.note(found, result, now)

    def _older_request(self, found: Mapping[Series, Interval], verify: Verify, *, stale_before: int = 0) -> PassRequest:
        """Return the request of a pass over the slots in `found`."""
        return PassRequest(
            self._job,
            [*found],
            found,
            lane=Lane.VERIFY,
            verify=verify,
            ask_s=_OLDER_ASK_S,
            pauses=True,
            stale_before=stale_before,
        )

"""Alerting: checks the engine and its series, and posts to the operator's webhook when a condition begins or ends."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import trio

from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.errors import RoleFailed, StoreError, leaves
from reconciler_engine.observe.alerts import (
    AFTER_MS,
    CAUSES,
    OF_ENGINE,
    OF_SERIES,
    Alert,
    AlertBook,
    Condition,
    EngineConditions,
    Notice,
    conditions_of,
)
from reconciler_engine.observe.readiness import checks
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.store.coverage import Coverage
from reconciler_engine.store.objective_counts import ObjectiveCounts
from reconciler_engine.store.open_alerts import OpenAlerts
from reconciler_engine.supervisor.report_source import ReportSource
from reconciler_engine.webhook.sender import Sender, Target

LOOK_S = 5.0
SERIES_LOOK_S = 30.0
_SUBJECTS_TOLD = 50
_LAST_WORD_S = 3.0
_logger = logging.getLogger(__name__)


class Alerting:
    """Posts each condition to the webhook once at its beginning and once at its end; passes never wait for that.

    Posted conditions are kept in Redis, so a restarted engine does not post them again, and a condition that several
    nodes see is posted by one of them. While Redis is away, this process keeps them in memory.
    """

    def __init__(self, passes: ScheduledPasses, reports: ReportSource) -> None:
        self._passes = passes
        self._reports = reports
        self._book = AlertBook()
        self._engine = EngineConditions(socket.gethostname())
        self._alerts = OpenAlerts(passes.parts.client, passes.parts.scope)
        self._adopted = False
        self._unnoted: set[str] = set()
        self._given_up: Sequence[RoleFailed] = ()
        self._looked_at = -math.inf
        self._sender = Sender(self._target)

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Remember a `RoleFailed` that ends the block, for the engine's last post."""
        try:
            yield
        except BaseException as error:
            self._given_up = [one for one in leaves(error) if isinstance(one, RoleFailed)]
            raise

    async def run(self) -> None:
        """Check and post until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sender.run)
                while True:
                    await trio.sleep(LOOK_S)
                    if self._target() is not None:
                        try:
                            await self._look()
                        except Exception:
                            # A defect in alerting must not end the engine.
                            _logger.exception("alerts were not looked for")
        finally:
            # If the engine ends because a role was given up, post that first.
            with trio.move_on_after(_LAST_WORD_S, shield=True):
                await self._say_last_word()

    async def _say_last_word(self) -> None:
        report, now = self._reports.report(), self._passes.now()
        if self._target() is None or report.engine is None:
            return
        given_up = [self._engine.given_up(error.role, str(error)) for error in self._given_up]
        notices = self._book.look(given_up, frozenset({Alert.ROLE}), now, self._after_ms)
        await self._tell([one for one in notices if not one.is_over], report.engine, now)
        await self._sender.send_rest()

    def _target(self) -> Target | None:
        config = self._passes.parts.config
        return None if config.webhook_url is None else Target(config.webhook_url, config.webhook_secret)

    async def _look(self) -> None:
        report, now = self._reports.report(), self._passes.now()
        if report.engine is None or report.stage != "running":
            return
        await self._adopt(now)
        conditions, kinds = self._engine.of(report, checks(report, report.age_s), now), OF_ENGINE
        notices = self._book.look(conditions, kinds, now, self._after_ms)
        if self._book.stands(CAUSES):
            self._book.hold(Alert.SERIES)
        elif trio.current_time() - self._looked_at >= SERIES_LOOK_S:
            notices += await self._look_at_series(report.engine, now)
        await self._tell(notices, report.engine, now)

    async def _look_at_series(self, engine: EngineStatus, now: int) -> list[Notice]:
        parts = self._passes.parts
        self._looked_at = trio.current_time()
        try:
            series = await Coverage(parts.client, parts.scope).read()
            objective = await ObjectiveCounts(parts.client, parts.scope).read_objective(engine)
        except StoreError as error:
            _logger.debug("series not looked at for alerts", extra={"error": str(error)})
            return []
        return self._book.look(conditions_of(series, objective), OF_SERIES, now, self._after_ms)

    def _after_ms(self, kind: Alert) -> int:
        return self._passes.parts.config.alert_after_ms if kind is Alert.SERIES else AFTER_MS.get(kind, 0)

    async def _adopt(self, now: int) -> None:
        """Read from Redis, once, the conditions that earlier processes posted; retried while Redis is away."""
        if self._adopted:
            return
        try:
            told = await self._alerts.read()
        except StoreError:
            return
        self._adopted = True
        for name, since in told.items():
            kind, _, subject = name.partition(":")
            is_ours = kind not in {Alert.ENGINE, Alert.ROLE} or subject.partition(" ")[0] == socket.gethostname()
            if kind in {*Alert} and is_ours:
                self._book.adopt(Condition(Alert(kind), subject, "as told before"), since, now)

    async def _tell(self, notices: Sequence[Notice], engine: EngineStatus, now: int) -> None:
        """Post notices that were not posted yet, with one post for each kind."""
        ordered = sorted(notices, key=lambda one: (not one.is_over, one.condition.alert))
        for (is_over, kind), group in groupby(ordered, key=lambda one: (one.is_over, one.condition.alert)):
            told = await self._claim([*group], is_over=is_over)
            if told:
                self._sender.post(as_object(kind, told, engine, now))
                extra = {"alert": kind.value, "phase": "end" if is_over else "begin", "count": len(told)}
                _logger.warning("alert", extra={**extra, "first": f"{told[0].condition.subject}"})

    async def _claim(self, notices: list[Notice], *, is_over: bool) -> list[Notice]:
        """Return the notices that no other node has posted; all of them if Redis is away."""
        names = {one.condition.name: one.since for one in notices}
        alone = self._unnoted & names.keys()
        self._unnoted -= alone
        try:
            noted = await (self._alerts.end([*names]) if is_over else self._alerts.begin(names))
        except StoreError as error:
            _logger.debug("alerts not noted", extra={"error": str(error)})
            self._unnoted |= set() if is_over else names.keys()
            return notices
        return [one for one in notices if one.condition.name in {*noted, *alone}]


def as_object(kind: Alert, notices: Sequence[Notice], engine: EngineStatus, now: int) -> dict[str, Any]:
    """Return the JSON object to post: conditions of one kind that all began or all ended."""
    return {
        "alert": kind.value,
        "phase": "end" if notices[0].is_over else "begin",
        "at": now,
        "count": len(notices),
        "subjects": [
            {
                "subject": one.condition.subject,
                "since": one.since,
                "detail": one.condition.detail,
                "cure": one.condition.cure,
            }
            for one in notices[:_SUBJECTS_TOLD]
        ],
        "engine": engine.model_dump(
            include={"node", "version", "user_id", "exchange_id", "source", "layout", "simulated"}
        ),
    }

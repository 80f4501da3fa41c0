"""Alerts: conditions that the operator is told of when they begin and when they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler_engine.observe.metrics import CONTRADICTED
from reconciler_engine.observe.objective import Objective
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.readiness import ReadinessCheck, causes_of
from reconciler_engine.observe.series_state import why_unready, word_of
from reconciler_engine.observe.status import BudgetStatus, Report, SeriesCoverage
from reconciler_engine.observe.words import describe_span


class Alert(StrEnum):
    """Kinds of alerts."""

    SERIES = "series_not_ready"
    ENGINE = "engine_not_ready"
    KEY = "key_refused"
    GONE = "exchange_gone"
    WITHHOLDS = "exchange_withholds"
    STARVED = "budget_starved"
    CONTESTED = "contested_slots"
    BURNING = "slo_burning"
    ROLE = "role_given_up"
    TEST = "test"


OF_SERIES: Final = frozenset({Alert.SERIES, Alert.CONTESTED, Alert.BURNING})
"""Kinds that follow from the coverage and the bar counts that passes keep in Redis."""

OF_ENGINE: Final = frozenset({*Alert}) - OF_SERIES - {Alert.TEST}
"""Kinds that follow from the engine's own report."""

CAUSES: Final = frozenset({Alert.ENGINE, Alert.KEY, Alert.GONE})
"""Kinds that make series unready: while a condition of such a kind lasts, no alert about a series begins."""

AFTER_MS: Final[Mapping[Alert, int]] = {Alert.ENGINE: 30_000, Alert.GONE: 60_000, Alert.STARVED: 300_000}
"""How long a condition lasts before it is told (ms). `SERIES` waits for `alert_after_ms`; other kinds do not wait."""

QUIET_MS: Final = 60_000
"""How long a condition must be absent to count as over (ms)."""

_STARVED_MS = 60_000
_WITHHELD = 3
_WITHHELD_MS = 600_000
_ALARMING = frozenset({"unknown", "lacking", "suspect", "unverified"})


class Condition(NamedTuple):
    """A state that the operator is to be told of.

    Attributes:
        alert: Kind of the condition.
        subject: Name of the series, timeframe, role, engine or resource concerned.
        detail: Description for people.
        cure: Action that ends the condition.
    """

    alert: Alert
    subject: str
    detail: str
    cure: str = ""

    @property
    def name(self) -> str:
        """Key of the condition: one lasts at a time for each kind and subject."""
        return f"{self.alert}:{self.subject}"


class Notice(NamedTuple):
    """The beginning or the end of a condition.

    Attributes:
        condition: The condition as last seen.
        since: When the condition was first seen (ms UTC).
        is_over: Whether the condition is over.
    """

    condition: Condition
    since: int
    is_over: bool


class AlertBook:
    """Remembers the current conditions, so that each causes one notice when it begins and one when it ends."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int, Condition]] = {}
        self._told: set[str] = set()

    def adopt(self, condition: Condition, since: int, now: int) -> None:
        """Add a condition whose beginning an earlier process has told already."""
        self._seen[condition.name] = (since, now, condition)
        self._told.add(condition.name)

    def look(
        self, conditions: Iterable[Condition], kinds: frozenset[Alert], now: int, after_ms: Callable[[Alert], int]
    ) -> list[Notice]:
        """Record all conditions of these kinds that were seen at `now` (ms UTC), and return the notices now due."""
        for one in conditions:
            first, _, _ = self._seen.get(one.name, (now, now, one))
            self._seen[one.name] = (first, now, one)
        notices = []
        for name, (first, last, one) in [*self._seen.items()]:
            if one.alert not in kinds:
                continue
            if now - last >= (QUIET_MS if name in self._told else 1):
                del self._seen[name]
                if name in self._told:
                    self._told.remove(name)
                    notices.append(Notice(one, first, is_over=True))
            elif name not in self._told and now - first >= after_ms(one.alert):
                self._told.add(name)
                notices.append(Notice(one, first, is_over=False))
        return notices

    def hold(self, kind: Alert) -> None:
        """Forget the conditions of a kind that were not told yet: a condition of `CAUSES` explains them."""
        for name, (_, _, one) in [*self._seen.items()]:
            if one.alert is kind and name not in self._told:
                del self._seen[name]

    def stands(self, kinds: frozenset[Alert]) -> bool:
        """Whether a condition of one of these kinds was told and still lasts."""
        return any(self._seen[name][2].alert in kinds for name in self._told)


class EngineConditions:
    """Derives conditions from one engine's reports; remembers how many answers lacked candles lately."""

    def __init__(self, engine: str) -> None:
        """Derive the conditions of the engine with this name, which stays the same when the process is restarted."""
        self._engine = engine
        self._contradicted: deque[tuple[int, float]] = deque()

    def of(self, report: Report, found: Sequence[ReadinessCheck], now: int) -> list[Condition]:
        """Return the conditions in a report and its checks `found`, at `now` (ms UTC)."""
        budget = None if report.engine is None else report.engine.budget
        found = [check for check in found if check.name not in {"stage", "roles"}]
        conditions = [
            Condition(Alert.ENGINE, self._engine, f"{check.name}: {check.detail}", cure)
            for check, cure in causes_of(found)
            if not check.ok and check.name != "exchange"
        ][:1]
        conditions += [
            self.given_up(one.role, f"given up after {one.last_exit}")
            for one in report.processes
            if one.state == "failed"
        ]
        return [*conditions, *([] if budget is None else _of_budget(budget)), *self._withheld(report, now)]

    def given_up(self, role: str, detail: str) -> Condition:
        """Return the condition of a role that the supervisor no longer restarts."""
        cure = "fix the fault that the log names, then restart the engine"
        return Condition(Alert.ROLE, f"{self._engine} {role}", detail, cure)

    def _withheld(self, report: Report, now: int) -> list[Condition]:
        count = report.figures.get(CONTRADICTED.name, [0.0])[0]
        while self._contradicted and now - self._contradicted[0][0] > _WITHHELD_MS:
            self._contradicted.popleft()
        self._contradicted.append((now, count))
        grown = round(count - self._contradicted[0][1])
        if grown < _WITHHELD:
            return []
        detail = f"{grown} answers of the last {describe_span(_WITHHELD_MS)} lacked candles that it has shown before"
        return [
            Condition(
                Alert.WITHHOLDS,
                "exchange",
                detail,
                "nothing to do: the engine does not trust such answers, and repeats the requests",
            )
        ]


def _of_budget(budget: BudgetStatus) -> list[Condition]:
    trouble = f"HTTP {budget.trouble}" if budget.trouble else "no answer"
    found = []
    if budget.breaker == "stopped":
        cure = "give the engine a key that the exchange accepts, then reload its settings (SIGHUP)"
        found.append(Condition(Alert.KEY, "key", f"the exchange refused the key ({trouble})", cure))
    elif budget.breaker == "gone":
        cure = "nothing to do: the engine sends one request at a time until the exchange answers"
        found.append(Condition(Alert.GONE, "exchange", f"the exchange does not answer ({trouble})", cure))
    elif budget.wait_ms >= _STARVED_MS:
        detail = f"{budget.waiting} requests wait, a new one for {describe_span(budget.wait_ms)}"
        found.append(Condition(Alert.STARVED, "budget", detail, "fewer series, or a larger batch_size or hourly_limit"))
    return found


def conditions_of(series: Mapping[str, SeriesCoverage], objective: Objective | None) -> list[Condition]:
    """Return the conditions in the coverage of series, and those of timeframes that use the error budget too fast."""
    found = [
        Condition(Alert.SERIES, name, why_unready(state), "see /ready, or `reconciler-engine ready`")
        for name, state in series.items()
        if word_of(state) in _ALARMING
    ]
    found += [
        Condition(Alert.CONTESTED, name, f"{count} slots replaced three times within a day", _CONTESTED_CURE)
        for name, state in series.items()
        if (count := state.obstacles.get(Obstacle.CONTESTED, 0))
    ]
    if objective is not None:
        found += [
            Condition(Alert.BURNING, frame, _burn(objective, frame), "see what is not ready, and why, at /coverage")
            for frame in objective.burning()
        ]
    return found


_CONTESTED_CURE = (
    "decide which candle is right: `reconciler-engine evidence mark --state accepted` keeps the cached one"
)


def _burn(objective: Objective, frame: str) -> str:
    burn = f"{objective.burn(frame, '1h'):.1f} over 1h, {objective.burn(frame, '24h'):.1f} over 24h"
    return f"the error budget burns {burn}; {objective.budget_left(frame):.0%} of it is left"

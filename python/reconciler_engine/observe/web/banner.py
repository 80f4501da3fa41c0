"""The first sentence of each page: how the engine and its series stand, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler_engine.observe.readiness import ReadinessCheck
from reconciler_engine.observe.series_state import lacks, why_unready, worst_first
from reconciler_engine.observe.standing import standing_of
from reconciler_engine.observe.status import SeriesCoverage
from reconciler_engine.observe.web.html import Child, Element, element

_CLASSES = {"ready": "good", "degraded": "warn", "not ready": "bad"}
_NAMED = 3


def banner(found: Sequence[ReadinessCheck], series: Mapping[str, SeriesCoverage] | None = None) -> Element:
    """Return the sentence.

    Args:
        found: The points that must hold.
        series: How each series stood when a pass last looked; None where the page tells that otherwise.
    """
    how, why = standing_of(found)
    lacking = [(name, state) for name, state in worst_first(series or {}) if lacks(state)]
    look = "warn" if lacking and how == "ready" else _CLASSES[how]
    told: list[Child] = [element("strong", f"The engine is {how}"), f": {why}." if why else "."]
    if lacking:
        told += _of_series(lacking, len(series or {}))
    elif series:
        told.append(" So are all its series." if how == "ready" else "")
    return element("p", told, class_=f"banner {look}")


def _of_series(lacking: Sequence[tuple[str, SeriesCoverage]], count: int) -> list[Child]:
    worst = "; ".join(f"{name} {why_unready(state)}" for name, state in lacking[:_NAMED])
    more = "" if len(lacking) <= _NAMED else f"; and {len(lacking) - _NAMED:,} more"
    number = element("a", f"{len(lacking):,} of {count:,} series", href="/coverage?unready=1")
    return [" ", number, f" are not ready: {worst}{more}."]

"""The catalogue of counters and histograms, and this process' figures.

A child sends its figures in its beats. The supervisor adds up those of all children, ended ones included, and the web
child shows the sums (see `exposition`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Figures = dict[str, list[float]]
"""Values by key, which is the metric's name and its label values, joined by `|`.

A counter has one value. A histogram has the number of observations in each bucket (not cumulative), then their sum.
"""

_figures: Figures = {}


@dataclass(frozen=True, slots=True)
class Metric:
    """A counter, or with `buckets` a histogram.

    Attributes:
        name: Name without the prefix, with the base unit and the suffix that Prometheus' conventions ask for.
        help: Help text that Prometheus shows.
        labels: Names of the labels. Their values are fixed words, so that their number does not grow with the cache.
        buckets: Upper bounds (inclusive), ascending; a last bucket without a bound is added.
        known: Label values that are shown as 0 before the first event.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()

    def add(self, amount: float, *values: str) -> None:
        """Add `amount`, at least 0, to the counter with these label values."""
        if amount:
            self._cell(values)[0] += amount

    def observe(self, value: float, *values: str) -> None:
        """Add one value to the histogram with these label values."""
        cell = self._cell(values)
        cell[bisect_left(self.buckets, value)] += 1
        cell[-1] += value

    @property
    def size(self) -> int:
        """Number of values that `Figures` holds for each combination of label values."""
        return len(self.buckets) + 2 if self.buckets else 1

    def _cell(self, values: tuple[str, ...]) -> list[float]:
        key = "|".join((self.name, *values))
        cell = _figures.get(key)
        if cell is None:
            cell = _figures[key] = [0] * self.size
        return cell


def figures() -> Figures:
    """Return a copy of this process' figures."""
    return {key: list(cell) for key, cell in _figures.items()}


def total(parts: Iterable[Mapping[str, list[float]]]) -> Figures:
    """Add up figures by key; values whose number differs, from a child of another version, are left out."""
    summed: Figures = {}
    for part in parts:
        for key, cell in part.items():
            known = summed.get(key)
            if known is None:
                summed[key] = list(cell)
            elif len(known) == len(cell):
                summed[key] = [one + other for one, other in zip(known, cell, strict=True)]
    return summed


_JOBS = ("gap_scan", "full_reconcile", "verify")
SLOT_OUTCOMES = ("missing", "filled", "confirmed_empty", "unresolved", "mismatched")
"""Fields of a pass' result that count slots."""


def _words(*words: str) -> tuple[tuple[str, ...], ...]:
    return tuple((word,) for word in words)


REQUESTS = Metric(
    "requests_total",
    "Requests sent to the exchange; status is the answer's, or none",
    ("endpoint", "outcome", "status"),
    known=(("candles", "ok", "200"),),
)
REQUEST_SECONDS = Metric(
    "request_duration_seconds",
    "Time from sending a request to the last byte of its answer",
    ("endpoint",),
    (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
    _words("candles"),
)
PERMIT_SECONDS = Metric(
    "permit_wait_seconds",
    "Wait for a permit of the request budget that was granted",
    (),
    (0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 300),
    ((),),
)
PERMITS_LOST = Metric(
    "permits_lost_total",
    "Permits not granted: void (asked again), refused (too long a wait), stopped (key refused), gone (exchange away)",
    ("reason",),
    known=_words("void", "refused", "stopped", "gone"),
)
CANDLES_MERGED = Metric(
    "merged_candles_total",
    "Fetched or loaded candles by outcome of the merge: inserted, present (the same was there), differing (another was "
    "kept), changed (replaced another), rewritten (replaced a verified one), refused (too old)",
    ("outcome",),
    known=_words("inserted", "present", "differing", "changed", "rewritten", "refused"),
)
MEMBERS_REMOVED = Metric(
    "removed_members_total",
    "Members that merges took out of the cache",
    ("reason",),
    known=_words("duplicate", "foreign"),
)
SLOTS_JUDGED = Metric(
    "judged_slots_total",
    "Slots by verdict of an answer: absent (no candle), late (absent in an earlier answer), doubted (other values)",
    ("verdict",),
    known=_words("absent", "late", "doubted"),
)
SUMS = Metric(
    "summed_candles_total",
    "Candles compared with sums of finer ones: verified (no request), differed (asked for), audited (agreed, but asked "
    "for), audit_differed (agreed, but differed from the exchange), disagreed (the exchange disagrees with itself)",
    ("outcome",),
    known=_words("verified", "differed", "audited", "audit_differed", "disagreed"),
)
CONTRADICTED = Metric(
    "contradicted_answers_total",
    "Answers that lacked candles which the cache holds or has had from the exchange",
    known=((),),
)
WEBHOOK_POSTS = Metric(
    "webhook_posts_total",
    "Posts to the webhook: taken, tried again, or dropped",
    ("outcome",),
    known=_words("taken", "retried", "dropped"),
)
REDIS_CONNECTIONS = Metric("redis_connections_total", "Connections to Redis that were opened", known=((),))
REDIS_ERRORS = Metric(
    "redis_errors_total",
    "Exchanges with Redis that failed as a whole",
    ("reason",),
    known=_words("unavailable", "other"),
)
TICKS = Metric(
    "ticks_total",
    "Ticks of a job by outcome",
    ("job", "outcome"),
    known=tuple(
        (job, outcome)
        for job in _JOBS
        for outcome in ("done", "degraded", "failed", "timed_out", "cancelled", "skipped", "missed")
    ),
)
RUN_SECONDS = Metric(
    "run_duration_seconds",
    "How long a job's runs took, whatever their outcome",
    ("job",),
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600),
    _words(*_JOBS),
)
PASS_GAPS = Metric(
    "gaps_total",
    "Gaps that passes found, and gaps that they filled as a whole",
    ("job", "outcome"),
    known=tuple((job, outcome) for job in _JOBS for outcome in ("found", "filled")),
)
PASS_SLOTS = Metric(
    "slots_total",
    "Slots that passes found or changed, by outcome",
    ("job", "outcome"),
    known=tuple((job, outcome) for job in _JOBS for outcome in SLOT_OUTCOMES),
)
PASS_ERRORS = Metric(
    "pass_errors_total", "Errors in the results of passes, at most 100 a pass", ("job",), known=_words(*_JOBS)
)

CATALOGUE = tuple(each for each in [*vars().values()] if isinstance(each, Metric))
"""All metrics above, in their order."""

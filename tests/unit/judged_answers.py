"""Answers about ninety slots, and verdicts on them."""

from __future__ import annotations

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import (
    Answer,
    Venue,
)
from reconciler_engine.planning.ledger import (
    Finding,
    FindingInterval,
    Knowledge,
    Ledger,
    Reason,
    State,
)
from reconciler_engine.planning.proof import judge

STEP = 60_000
T0 = 1_767_225_600_000
SLOTS = 90
LAST = SLOTS - 1
PAGE = Interval(T0, T0 + SLOTS * STEP)
LATER = PAGE.stop + 86_400_000
HOUR = 3_600_000
HOPELESS = Venue(newest_alike=LATER, is_hopeless=True)
REFERENCE = Venue(has_reference=True)


def slots(*numbers: int) -> Intervals:
    return Intervals.of_slots([T0 + number * STEP for number in sorted(numbers)], STEP)


def all_but(*numbers: int) -> Intervals:
    return PAGE - slots(*numbers)


def answer(rows=NOTHING, when=LATER, unusable=NOTHING, **options) -> Answer:
    return Answer(options.pop("asked", PAGE), when, rows, unusable, **options)


def judged(rows=NOTHING, *, candles=NOTHING, known=Knowledge(), venue=Venue(), **options):  # noqa: B008 (immutable)
    return judge(known, answer(rows, **options), candles, venue, STEP)


def state_of(verdict, number: int) -> State | None:
    found = verdict.known.ledger.at(T0 + number * STEP)
    return None if found is None else found.state


def known_with(number: int, state: State, reason: Reason, *, first=LATER - HOUR, sightings=1, due=None, **options):
    start = T0 + number * STEP
    finding = Finding(state, reason, first, first, sightings, due)
    return Knowledge(ledger=Ledger([FindingInterval(start, start + STEP, finding)]), **options)

"""The rules of evidence: what an answer of the exchange proves about each slot, and when to look again. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.rounding import ceil_to
from reconciler_engine.planning.ledger import SIGHTINGS_LIMIT, Finding, Ledger, Reason, Rule, State
from reconciler_engine.planning.window import DEFAULT_GRACE_MS

RIPE_MS = 600_000
"""A slot that closed so long ago is empty where one answer has closed candles on both sides of it."""

APART_MS = 240_000
"""Two answers so far apart prove what one alone does not: a slot that closed lately, or at an answer's edge."""

RECHECK_MS = (3_600_000, 21_600_000)
"""After its proof an empty slot is asked for once more after an hour and after six; then it is settled."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A well-formed answer about the slots of an interval.

    There is none for an error, a timeout, a refusal, a truncated body or wrong dates: they prove nothing.

    Attributes:
        asked: The slots asked for, half-open.
        at: When it was asked for (ms UTC), never later than the exchange looked.
        rows: Open times of its rows, ascending; a row beyond the ends of `asked` counts as a candle beside them.
        covering: Whether it speaks about every slot asked for; else only its rows say anything.
        doubted: By open time, ascending: rows with other values than the cache holds, and whether the candle there came
            live.
        unusable: Open times of slots with a row that is not a candle, ascending.
    """

    asked: Interval
    at: int
    rows: Sequence[int]
    covering: bool
    doubted: Mapping[int, bool] = field(default_factory=dict)
    unusable: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a ledger.

    Attributes:
        ledger: What is known now.
        absent: The slots that count as having no candle by this answer.
        late: Slots with a candle that an earlier answer had not.
    """

    ledger: Ledger
    absent: Intervals
    late: int


def judge(ledger: Ledger, answer: Answer, slots: Intervals, step: int, *, grace_ms: int = DEFAULT_GRACE_MS) -> Verdict:
    """Return what is known after an answer.

    Slot by slot; a row speaks about any slot asked for, its absence only about the slots given:

    - a row: the slot has a candle, and nothing else is known of it any more, whatever was proved before;
    - a row that doubts the candle there: that one is suspect;
    - forming when asked, or closed less than `grace_ms` before: nothing;
    - an unusable row: missing, whatever was proved before, unless marked by hand; there may be a candle;
    - no row, and the answer does not cover: nothing;
    - no row where the candle there is suspect: there is nothing to replace it with, and no reason to ask again;
    - no row between closed candles of the answer, closed for `RIPE_MS`: empty;
    - no row otherwise (an empty answer, one that stops short of the slot, a young slot): missing, and empty once two
      such answers lie `APART_MS` apart.

    Args:
        ledger: What was known.
        answer: What came.
        slots: The slots to judge: those without a candle when it was asked.
        step: The grid's step (ms).
        grace_ms: How long after its close a bar may still be on its way.
    """
    # The grid starts at the epoch: what opens before this instant had closed.
    closed = Interval(0, max((answer.at - grace_ms) // step * step, 0))
    ripe = Interval(0, max((answer.at - RIPE_MS) // step * step, 0))
    candles = Intervals.of_slots(answer.rows, step)
    unusable = Intervals.of_slots(answer.unusable, step)
    judged = slots & answer.asked & closed
    there = candles & answer.asked
    late = there & ledger.where(answer.asked, _was_absent)
    agreed = there - Intervals.of_slots(answer.doubted, step)
    known = ledger.revise(agreed, _forget) if ledger.within(answer.asked) else ledger
    for is_live in set(answer.doubted.values()):
        alike = Intervals.of_slots([open_time for open_time, each in answer.doubted.items() if each is is_live], step)
        known = known.revise(alike, partial(_doubt, at=answer.at, is_live=is_live))
    known = known.revise(judged & unusable, partial(_spoil, at=answer.at))
    if not answer.covering:
        return Verdict(known, NOTHING, late.size(step))
    known = known.revise(known.in_state(answer.asked, State.SUSPECT) - (candles | unusable), _wait_no_more)
    absent = judged - (candles | unusable)
    shut = answer.rows[: bisect_left(answer.rows, closed.stop)]
    between = _between(shut, ripe)
    known = known.revise(absent & between, partial(_sight, at=answer.at, between=True))
    known = known.revise(absent - between, partial(_sight, at=answer.at, between=False))
    return Verdict(known, absent, late.size(step))


_ABSENT = frozenset({State.MISSING, State.EMPTY, State.HALTED})


def _forget(_: Finding | None) -> None:
    return None


def _was_absent(known: Finding) -> bool:
    return known.state in _ABSENT and known.reason is not Reason.ROW_UNUSABLE


def _is_suspect(known: Finding) -> bool:
    return known.state is State.SUSPECT


def _doubt(known: Finding | None, at: int, *, is_live: bool) -> Finding:
    """Return what is known of a slot whose candle differs from the exchange's."""
    reason = Reason.LIVE_VALUES_DIFFER if is_live else Reason.VALUES_DIFFER
    if known is None or not _is_suspect(known):
        return Finding(State.SUSPECT, reason, at, at, 1, at)
    last, sightings = max(known.last, at), min(known.sightings + 1, SIGHTINGS_LIMIT)
    return Finding(State.SUSPECT, reason, known.first, last, sightings, at)


def _wait_no_more(known: Finding | None) -> Finding | None:
    return None if known is None else known._replace(next_check=None)


def _spoil(known: Finding | None, at: int) -> Finding:
    """Return what is known of a slot without a candle after an answer with an unusable row for it."""
    if known is not None and known.reason is Reason.BY_HAND:
        return known
    if known is None or known.reason is not Reason.ROW_UNUSABLE:
        # The next answer may be better: asked for again at once, then after as long as it has been unusable.
        return Finding(State.MISSING, Reason.ROW_UNUSABLE, at, at, 1, at)
    sightings, wait = min(known.sightings + 1, SIGHTINGS_LIMIT), min(max(at - known.first, 0), APART_MS)
    return known._replace(last=max(known.last, at), sightings=sightings, next_check=at + wait)


def _between(candles: Sequence[int], ripe: Interval) -> Interval:
    """Return the ripe slots that have one of these candles on each side, or are one of them."""
    if not candles:
        return Interval(0, 0)
    return Interval(candles[0], max(candles[0], min(candles[-1], ripe.stop)))


def _sight(known: Finding | None, at: int, *, between: bool) -> Finding:
    """Return what is known of a slot after one more answer without it."""
    if known is None or known.state is State.SUSPECT:
        known = _missing(at, sightings=0)
    if known.reason is Reason.ROW_UNUSABLE:
        # That answer had a row: this is the first one without.
        return _missing(at, sightings=1)
    sightings = min(known.sightings + 1, SIGHTINGS_LIMIT)
    if known.state is not State.MISSING:
        return _checked(known, at, sightings)
    if between:
        return _empty(at, sightings, Reason.BETWEEN_CANDLES)
    if at - known.first >= APART_MS:
        return _empty(at, sightings, Reason.ABSENT_TWICE)
    if at < known.first:
        # The clock went back: nobody knows how far apart the two were.
        return _missing(at, sightings=1)
    return known._replace(last=at, sightings=sightings)


def _checked(known: Finding, at: int, sightings: int) -> Finding:
    """Return a confirmed finding after an answer that agrees with it."""
    due = known.next_check
    if due is None:
        return known
    if at >= due:
        later = known.first + RECHECK_MS[-1]
        due = later if at < later else None
    return known._replace(last=max(known.last, at), sightings=sightings, next_check=due)


def _missing(at: int, *, sightings: int) -> Finding:
    return Finding(State.MISSING, Reason.ABSENT_ONCE, at, at, sightings, at + APART_MS)


def _empty(at: int, sightings: int, reason: Reason) -> Finding:
    return Finding(State.EMPTY, reason, at, at, sightings, at + RECHECK_MS[0])


@dataclass(frozen=True, slots=True)
class Listing:
    """When a product can have candles.

    Attributes:
        listed_at: Since when it is listed (ms UTC); None if unknown.
        delisted_at: Since when it is known to be delisted; None while it trades.
    """

    listed_at: int | None = None
    delisted_at: int | None = None


def apply_listing(ledger: Ledger, listing: Listing, slots: Intervals, step: int, at: int) -> Ledger:
    """Return the ledger with those of some slots that lie outside a listing as `unlisted`, and only those.

    The bar in which a product was listed may hold trades, and so may the one in which it was delisted.

    Args:
        ledger: What was known.
        listing: What the exchange says about the product.
        slots: The slots to look at, on the grid.
        step: The grid's step (ms).
        at: When the exchange said so (ms UTC).
    """
    if not slots:
        return ledger
    start, stop = slots.hull.start, slots.hull.stop
    first = start if listing.listed_at is None else listing.listed_at // step * step
    last = stop if listing.delisted_at is None else ceil_to(listing.delisted_at, step)
    before = slots & Interval(start, max(first, start))
    after = (slots & Interval(min(last, stop), stop)) - before
    for where, rule in (
        (before, _outside(Reason.NOT_YET_LISTED, at)),
        (after, _outside(Reason.DELISTED, at)),
        (slots - before - after, _inside),
    ):
        ledger = ledger.revise(where, rule)
    return ledger


def _outside(reason: Reason, at: int) -> Rule:
    def rule(known: Finding | None) -> Finding | None:
        if known is not None and known.reason in (reason, Reason.BY_HAND):
            return known
        return Finding(State.UNLISTED, reason, at, at, 1, None)

    return rule


def _inside(known: Finding | None) -> Finding | None:
    wrong = known is not None and known.reason in (Reason.NOT_YET_LISTED, Reason.DELISTED)
    return None if wrong else known


def mark(ledger: Ledger, slots: Intervals, state: State, at: int) -> Ledger:
    """Return the ledger with these slots in a state by hand, for good; `UNKNOWN` forgets what is known of them.

    Args:
        ledger: What was known.
        slots: The slots, on the grid.
        state: `EMPTY`, `HALTED`, `UNLISTED` or `UNKNOWN`.
        at: When (ms UTC).

    Raises:
        ValueError: The state is one that only candles or answers can give.
    """
    if state is State.UNKNOWN:
        return ledger.revise(slots, _forget)
    if state not in (State.EMPTY, State.HALTED, State.UNLISTED):
        raise ValueError(f"state {state.value!r} cannot be set by hand; allowed: empty, halted, unlisted, unknown")
    finding = Finding(state, Reason.BY_HAND, at, at, 1, None)
    return ledger.revise(slots, lambda _: finding)

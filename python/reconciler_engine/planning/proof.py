"""The rules of proof: revise the findings about a series after an answer of the exchange. Pure.

Sections 2 to 4 of the rules of truth. `judge` applies them to one answer. The tables in `_note_rows`, `_note_absent`
and `note_ghosts` are the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.answers import (
    INDEPENDENT_AFTER_MS,
    Answer,
    Venue,
    closed_slots,
    find_lacking,
    find_witnesses,
    independent_of,
    sudden_silence,
    usable_rows,
)
from reconciler_engine.planning.ghosts import note_ghosts, recheck_ghosts
from reconciler_engine.planning.ledger import (
    MOST_BROUGHT,
    OF_VALUES,
    WITHOUT_REFERENCE,
    Brought,
    Finding,
    Knowledge,
    Reason,
    State,
)
from reconciler_engine.planning.second_answers import await_second, is_left_alone, note_repairs
from reconciler_engine.planning.sightings import (
    APART_MS,
    LATE_REACH_MS,
    LEAST_WITNESSES,
    QUIET_AFTER_MS,
    RECHECK_MS,
    RIPE_MS,
    THIRD_AFTER_MS,
    resting_until,
    seen_again,
)
from reconciler_engine.planning.window import DEFAULT_GRACE_MS


@dataclass(frozen=True, slots=True)
class Verdict:
    """The knowledge about a series after an answer, and how the answer was judged.

    Attributes:
        known: The revised knowledge.
        absent: Slots that count as having no candle by this answer.
        late: Number of slots with a row that earlier answers lacked.
        usable: Slots of the rows that may fill absent slots.
        witnesses: Slots for which the answer must have a row.
        lacking: Witnesses that the answer lacks. A single one contradicts it.
        wants_reference: End of the newest slots for which a reference would prove more (ms UTC), or None.
        removable: Ghosts that every recheck confirmed: their members may be removed.
        is_whole: Whether the answer covered every slot asked for.
    """

    known: Knowledge
    absent: Intervals = NOTHING
    late: int = 0
    usable: Intervals = NOTHING
    witnesses: Intervals = NOTHING
    lacking: Intervals = NOTHING
    wants_reference: int | None = None
    removable: Intervals = NOTHING
    is_whole: bool = True

    @property
    def is_contradicted(self) -> bool:
        """Whether a whole answer lacks a candle that it should have had."""
        return self.is_whole and bool(self.lacking)


def judge(
    known: Knowledge,
    answer: Answer,
    candles: Intervals,
    venue: Venue,
    step: int,
    *,
    slots: Interval | None = None,
    grace_ms: int = DEFAULT_GRACE_MS,
) -> Verdict:
    """Return the knowledge about a series after one more answer.

    The rows of every answer count. Absences count only in a whole answer that no witness contradicts; a contradicted
    answer is a sighting of ghosts instead.

    Args:
        known: The knowledge before.
        answer: The answer.
        candles: Slots of its range that held a candle in the cache at the time of the request, without fillers.
        venue: Facts about the exchange at that moment.
        step: The grid's step (ms).
        slots: Slots to fill and to judge, by default all of the answer's. All other slots only serve as witnesses.
        grace_ms: How long after its close a bar may still be on its way.
    """
    shut = closed_slots(answer.at, grace_ms, step) & answer.asked
    closed = shut if slots is None else shut & slots
    witnesses = find_witnesses(answer, candles, known, step)
    lacking = find_lacking(answer, witnesses)
    seen = usable_rows(answer, lacking, step) & shut
    late = seen & known.ledger.where(shut, _is_absent)
    known = _note_brought(known, seen - candles - known.exists, answer.at)
    known = _note_rows(known, answer, seen, late, shut, step)
    if lacking and answer.is_whole:
        known, waits = note_ghosts(known, answer, candles, lacking, witnesses, venue, step)
        removable, absent = NOTHING, NOTHING
    elif answer.is_whole:
        known, removable = recheck_ghosts(known, answer)
        absent = closed - candles - answer.rows - answer.unusable - known.exists
        known, waits = _note_absent(known, answer, shut, absent, witnesses, venue, step)
    else:
        absent, removable, waits = NOTHING, NOTHING, NOTHING
    wants = waits[-1].stop if waits and not venue.has_reference and not venue.is_hopeless else None
    return Verdict(known, absent, late.size(step), seen & closed, witnesses, lacking, wants, removable, answer.is_whole)


def _note_rows(
    known: Knowledge,
    answer: Answer,
    usable: Intervals,
    late: Intervals,
    shut: Interval,
    step: int,
) -> Knowledge:
    """Record the rows of an answer.

    | row                                     | the slot becomes                                                 |
    |-----------------------------------------|------------------------------------------------------------------|
    | usable                                  | known to exist; any finding is dropped                           |
    | usable, values differ from the candle's | suspect: values differ                                           |
    | the same; a second answer may repair it | suspect: second answer; asked for again after four minutes       |
    | usable, third replacement within a day  | suspect: contested, for a day, regardless of other answers       |
    | usable, not compared with the candle    | known to exist; a doubt about values stays                       |
    | unusable                                | missing: unusable row, unless it holds a candle; rests after two |
    |                                         | such answers four minutes apart                                  |
    | late: an earlier answer lacked it       | as usable; nearby proofs without a reference are dropped         |
    """
    compared = usable - answer.doubted - answer.awaited
    of_values = OF_VALUES | {Reason.CONTESTED}
    unknown = known.ledger.where(answer.asked, lambda one: one.reason in of_values) & answer.uncompared
    ledger = known.ledger.revise(compared - unknown, partial(_settle, at=answer.at))
    ledger = ledger.revise(answer.doubted, partial(_doubt, at=answer.at))
    ledger = ledger.revise(answer.awaited, partial(await_second, at=answer.at))
    for one in late:
        around = Interval(max(one.start - LATE_REACH_MS, 0), one.stop + LATE_REACH_MS)
        ledger = ledger.revise(ledger.where(around, lambda one: one.reason in WITHOUT_REFERENCE), lambda _: None)
    spoilt = (answer.unusable & shut) - usable
    ledger = ledger.revise(spoilt, partial(_spoil, at=answer.at))
    known = known._replace(ledger=ledger, exists=known.exists | usable)
    return note_repairs(known, answer.replaced & usable, answer.at, step)


def _note_brought(known: Knowledge, filled: Intervals, at: int) -> Knowledge:
    """Record the slots whose row came first in this answer, and forget those of answers older than an hour.

    Above `MOST_BROUGHT` entries, neighbours are merged: slots between them then are not independent witnesses either.
    """
    recent = [one for one in known.brought if at - one.at < INDEPENDENT_AFTER_MS]
    recent += (Brought(one, at) for one in filled)
    while len(recent) > MOST_BROUGHT:
        recent.sort()
        pairs = zip(recent[::2], recent[1::2], strict=False)
        odd = recent[-1:] if len(recent) % 2 else []
        recent = [
            Brought(Interval(one.slots.start, max(one.slots.stop, two.slots.stop)), max(one.at, two.at))
            for one, two in pairs
        ] + odd
    return known._replace(brought=tuple(recent))


def _settle(known: Finding | None, at: int) -> Finding | None:
    """Drop a finding, unless its slot is contested."""
    return known if is_left_alone(known, at) else None


def _is_absent(finding: Finding) -> bool:
    return finding.state in {State.MISSING, State.EMPTY, State.HALTED} and finding.reason is not Reason.ROW_UNUSABLE


def _doubt(known: Finding | None, at: int) -> Finding:
    """Return the finding of a slot whose candle differs from the exchange's."""
    if known is not None and is_left_alone(known, at):
        return seen_again(known, at)
    if known is None or known.reason not in OF_VALUES:
        return Finding(State.SUSPECT, Reason.VALUES_DIFFER, at, at, 1, at)
    return seen_again(known, at)._replace(reason=Reason.VALUES_DIFFER, next_check=at)


def _spoil(known: Finding | None, at: int) -> Finding:
    """Return the finding of a slot with an unusable row. A mark by the operator stays."""
    if known is not None and known.reason is Reason.BY_HAND:
        return known
    if known is None or known.reason is not Reason.ROW_UNUSABLE:
        return Finding(State.MISSING, Reason.ROW_UNUSABLE, at, at, 1, at)
    # One unusable row causes no delay; after four minutes of unusable rows the slot rests.
    bad_ms = at - known.first
    due = resting_until(known.first, at) if bad_ms >= APART_MS else at + max(bad_ms, 0)
    return seen_again(known, at)._replace(next_check=due)


def _note_absent(
    known: Knowledge,
    answer: Answer,
    closed: Interval,
    absent: Intervals,
    witnesses: Intervals,
    venue: Venue,
    step: int,
) -> tuple[Knowledge, Intervals]:
    """Record the absent slots of an uncontradicted answer; return the knowledge and the slots that need a reference.

    | slot                                        | evidence                                     | becomes          |
    |---------------------------------------------|----------------------------------------------|------------------|
    | closed 10 min ago, between closed rows      | a reference                                  | empty            |
    | the same                                    | 30 independent witnesses, and at least one   | empty            |
    |                                             |   for each absent slot                       |                  |
    | also absent at least 4 min before           | a reference                                  | empty            |
    | also absent an hour before and in between,  | references are hopeless                      | empty            |
    |   and some answer of this moment about the  |                                              |                  |
    |   timeframe has a row as new                |                                              |                  |
    | in a sudden silence (`sudden_silence`), and | any                                          | missing, sighted |
    |   closed less than 110 min ago              |                                              |                  |
    | any other                                   | any                                          | missing, sighted |
    | proved before                               | any                                          | rechecked        |
    """
    ledger = known.ledger
    shut = answer.rows & closed_slots(answer.at, 0, step)
    between = (absent & shut.hull if shut else NOTHING) & closed_slots(answer.at, RIPE_MS, step)
    unproved = between - ledger.where(answer.asked, _takes_more)
    independent = independent_of(witnesses, known, answer.at).size(step)
    is_witnessed = independent >= max(LEAST_WITNESSES, unproved.size(step))
    among = between if independent >= LEAST_WITNESSES else NOTHING
    if venue.has_reference or is_witnessed:
        reason = Reason.WITH_REFERENCE if venue.has_reference else Reason.AMONG_WITNESSES
        ledger = ledger.revise(unproved, partial(_prove, at=answer.at, reason=reason))
        absent -= unproved
    latest = venue.newest_alike if venue.is_hopeless else None
    timely = Interval(0, 0 if latest is None else latest + step)
    sudden = sudden_silence((witnesses | answer.rows) & closed, answer.asked, closed, step)
    start = ledger.at(sudden.start)
    if start is not None and start.is_confirmed:
        # The first slot of the silence is proved empty: the product stopped trading.
        sudden = Interval(0, 0)
    unclear = absent & (sudden - closed_slots(answer.at, QUIET_AFTER_MS, step))
    for slots, is_among, is_timely, has_reference in (
        (unclear, False, False, False),
        ((absent - unclear) & among & timely, True, True, venue.has_reference),
        (((absent - unclear) & among) - timely, True, False, venue.has_reference),
        (((absent - unclear) - among) & timely, False, True, venue.has_reference),
        (absent - unclear - among - timely, False, False, venue.has_reference),
    ):
        sight = partial(
            _sight, at=answer.at, is_among=is_among, has_reference=has_reference, is_timely=is_timely,
            is_hopeless=venue.is_hopeless,
        )  # fmt: skip
        ledger = ledger.revise(slots, sight)
    waits = ledger.where(answer.asked, awaits_reference) & absent
    return known._replace(ledger=ledger), (unproved & absent) | waits


_NO_SIGHTING = frozenset({Reason.ROW_UNUSABLE, Reason.WITHDRAWN})
"""Reasons of missing slots for which no uncontradicted answer has counted as a sighting yet."""


def _takes_more(finding: Finding) -> bool:
    """Whether one answer cannot prove a slot empty: it is proved already, or its last row was unusable."""
    return finding.is_confirmed or finding.reason is Reason.ROW_UNUSABLE


def awaits_reference(finding: Finding) -> bool:
    """Whether two answers lacked a slot, four minutes apart, so that a reference would prove it empty."""
    return (
        finding.state is State.MISSING
        and finding.reason is not Reason.ROW_UNUSABLE
        and (finding.last - finding.first >= APART_MS)
    )


def _sight(
    known: Finding | None,
    at: int,
    *,
    is_among: bool,
    has_reference: bool,
    is_timely: bool,
    is_hopeless: bool,
) -> Finding:
    """Return the finding of an absent slot after one more answer that lacks it."""
    if known is not None and known.is_confirmed:
        return _checked(known, at)
    is_new = known is None or known.state is State.SUSPECT or known.reason in _NO_SIGHTING or at < known.first
    is_first_among = is_among and known is not None and known.reason is Reason.ABSENT_ONCE and not is_hopeless
    if known is None or is_new or (is_first_among and not has_reference):
        # Sightings begin anew: there was none, it was not between rows, or the clock went back.
        reason = Reason.AMONG_WITNESSES_ONCE if is_among else Reason.ABSENT_ONCE
        return Finding(State.MISSING, reason, at, at, 1, at + APART_MS)
    seen = seen_again(known, at)
    apart = at - known.first
    if apart >= APART_MS and has_reference:
        return _prove(seen, at, reason=Reason.WITH_REFERENCE)
    if apart >= THIRD_AFTER_MS and is_timely and known.last - known.first >= APART_MS:
        return _prove(seen, at, reason=Reason.ABSENT_THRICE)
    stays = is_among and known.reason is Reason.AMONG_WITNESSES_ONCE
    reason = Reason.AMONG_WITNESSES_ONCE if stays else Reason.ABSENT_ONCE
    # Ask in each scan also without a reference: a rest of an hour would outlast the outage that the reference suffers.
    return seen._replace(state=State.MISSING, reason=reason, next_check=max(known.first + APART_MS, at))


def _prove(known: Finding | None, at: int, *, reason: Reason) -> Finding:
    return Finding(State.EMPTY, reason, at, at, 1 if known is None else known.sightings, at + RECHECK_MS[0])


def _checked(known: Finding, at: int) -> Finding:
    """Return the finding of a proved slot after an answer that agrees with the proof."""
    due = known.next_check
    if due is None:
        return known
    if at >= due:
        later = known.first + RECHECK_MS[-1]
        due = later if at < later else None
    return seen_again(known, at)._replace(next_check=due)

"""Second answers: which candles give way to an answer at once, and which wait until another one agrees. Pure.

Section 5 of the rules of truth. One answer may be stale or speak of another product.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import NOTHING, Intervals
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.audit import Doubt, values_of
from reconciler_engine.planning.ledger import Finding, Knowledge, Reason, Repaired, State, Wait
from reconciler_engine.planning.sightings import APART_MS, DAILY_MS, RECHECK_MS, resting_until, seen_again

MOST_WAITS = 1_000
"""Slots in the memory of rows that wait: the newest."""

SURE_AFTER_MS = 3_600_000
"""From an hour after a bar's close a second answer needs no sign that the exchange's time has gone on."""

_LIFE_MS = 2 * DAILY_MS
_LEAST_COMPARED = 5
_ALIKE_IN_A_DIFFERENCE = 5
_DIGEST_LETTERS = 12
_VALUES = struct.Struct("<5d")


class Weighed(NamedTuple):
    """The candles from which an answer differs, by their treatment.

    Attributes:
        due: Doubts whose candle gives way now.
        kept: Slots whose candle stays, and is suspect.
        awaited: Slots whose candle stays until a second answer agrees with this one.
        known: The knowledge, with the rows that wait from now on.
        is_foreign: Whether the answer seems to speak of another product: nothing of it is used but the rows that wait.
    """

    due: list[Doubt]
    kept: Intervals
    awaited: Intervals
    known: Knowledge
    is_foreign: bool


def weigh(
    doubts: Sequence[Doubt],
    known: Knowledge,
    answer: Answer,
    present: Intervals,
    venue: Venue,
    step: int,
    *,
    verified: Intervals = NOTHING,
) -> Weighed:
    """Sort doubts by the treatment of their candles.

    | the candle                             | the answer | gives way                                               |
    |----------------------------------------|------------|---------------------------------------------------------|
    | may not by the rules, or is contested  | any        | no                                                      |
    | has no greater volume than the row     | plausible  | at once                                                 |
    | the same                               | strange    | to a second row like it, 4 minutes later                |
    | has a greater volume than the row      | any        | to a second row like it, 4 minutes later, once it       |
    |                                        |            | closed over an hour ago, or a bar was seen that opened  |
    |                                        |            | after the first answer was asked for                    |

    Args:
        doubts: Candles from which the answer differs.
        known: The knowledge before.
        answer: The answer; its `uncompared` rows were not compared.
        present: Slots of its range that hold a candle in the cache.
        venue: Facts about the exchange at that moment.
        step: The grid's step (ms).
        verified: Slots whose candle, as it was read, an earlier answer confirmed.
    """
    at = answer.at
    is_foreign = _is_foreign(doubts, ((answer.rows & present) - answer.uncompared).size(step))
    is_strange = is_foreign or any(verified.holds(one.candle.timestamp) for one in doubts)
    waits = {one.slot: one for one in known.waits}
    due: list[Doubt] = []
    kept: list[int] = []
    awaited: dict[int, Wait] = {}
    for doubt in doubts:
        slot = doubt.candle.timestamp
        finding = known.ledger.at(slot)
        if not doubt.yields or is_left_alone(finding, at):
            kept.append(slot)
            is_foreign = is_foreign and (finding is None or at - finding.first < APART_MS)
            continue
        wait = _wait_for(waits.get(slot), doubt.candle, at)
        # A second answer like the first: it is this product's after all.
        is_foreign = is_foreign and at - wait.first < APART_MS
        is_timely = not doubt.lowers_volume or _is_timely(wait, at, venue, step)
        if (is_strange or doubt.lowers_volume) and not (at - wait.first >= APART_MS and is_timely):
            awaited[slot] = wait
        else:
            due.append(doubt)
    told = answer.rows - answer.uncompared
    others = [one for one in known.waits if not told.holds(one.slot) and at - one.first < _LIFE_MS]
    memory = (*others, *awaited.values())[-MOST_WAITS:]
    return Weighed(
        due,
        Intervals.of_slots(sorted(kept), step),
        Intervals.of_slots(sorted(awaited), step),
        known._replace(waits=memory),
        is_foreign,
    )


def await_second(known: Finding | None, at: int) -> Finding:
    """Return the finding of a slot whose candle gives way once a second answer agrees.

    It is asked for again after four minutes. Where answers have not agreed for an hour it rests between two and two.
    """
    due = None if known is None or known.reason is not Reason.SECOND_ANSWER else known.next_check
    if known is None or due is None or due <= known.last or at < known.first:
        return Finding(State.SUSPECT, Reason.SECOND_ANSWER, at, at, 1, at + APART_MS)
    seen = seen_again(known, at)
    if at < due:
        return seen
    has_rested = due - known.last > APART_MS
    is_unsettled = at - known.first >= RECHECK_MS[0] and not has_rested
    return seen._replace(next_check=resting_until(known.first, at) if is_unsettled else at + APART_MS)


def _is_foreign(doubts: Sequence[Doubt], compared: int) -> bool:
    """Whether an answer may speak of another product: it denies the opens of over a fifth of the candles compared."""
    opens = sum(one.differs_in_open for one in doubts)
    return compared >= _LEAST_COMPARED and opens * _ALIKE_IN_A_DIFFERENCE > compared


def _wait_for(before: Wait | None, candle: Candle, at: int) -> Wait:
    """Return the wait of a slot after one more row of it: it begins anew where the row is another one."""
    digest = hashlib.sha1(_VALUES.pack(*values_of(candle)), usedforsecurity=False).hexdigest()[:_DIGEST_LETTERS]
    if before is not None and before.row == digest and before.first <= at:
        return before
    return Wait(candle.timestamp, at, digest)


def _is_timely(wait: Wait, at: int, venue: Venue, step: int) -> bool:
    """Whether the exchange's answers are known to have gone on since the first row, or the bar is old enough."""
    closed_at = wait.slot + step
    return closed_at < at - SURE_AFTER_MS or (venue.newest is not None and venue.newest >= wait.first)


CONTESTED_AFTER = 3
"""So many replacements within a day make a slot contested."""

MOST_REPAIRED = 1_000
"""Slots in the memory of replacements: the newest."""


def note_repairs(known: Knowledge, replaced: Intervals, at: int, step: int) -> Knowledge:
    """Return the knowledge after the exchange's candles took the place of others at `at` (ms UTC).

    The third replacement within a day makes a slot contested for a day.
    """
    if not replaced:
        return known
    memory = {one.slot: one for one in known.repaired if at - one.first < DAILY_MS}
    contested = []
    for slot in replaced.slots(step):
        before = memory.pop(slot, Repaired(slot, 0, at))
        memory[slot] = before._replace(times=before.times + 1)
        if memory[slot].times >= CONTESTED_AFTER:
            contested.append(slot)
    finding = Finding(State.SUSPECT, Reason.CONTESTED, at, at, 1, at + DAILY_MS)
    ledger = known.ledger.revise(Intervals.of_slots(contested, step), lambda _: finding)
    return known._replace(ledger=ledger, repaired=tuple(memory.values())[-MOST_REPAIRED:])


def is_left_alone(known: Finding | None, at: int) -> bool:
    """Whether a slot is contested and the day for which repair leaves it alone is not over at `at` (ms UTC)."""
    return (
        known is not None
        and known.reason is Reason.CONTESTED
        and known.next_check is not None
        and at < known.next_check
    )

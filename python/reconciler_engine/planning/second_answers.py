"""Second answers: decide which candles an answer replaces at once, and which only once a second one agrees. Pure.

Section 5 of the rules of truth. A single answer may be stale, or be about another product.
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
"""Limit on the waiting rows of a series; the newest are kept."""

SURE_AFTER_MS = 3_600_000
"""From an hour after a bar's close, a second answer counts without a sign that the exchange has newer data."""

_LIFE_MS = 2 * DAILY_MS
_LEAST_COMPARED = 5
_ALIKE_IN_A_DIFFERENCE = 5
_DIGEST_LETTERS = 12
_VALUES = struct.Struct("<5d")


class Weighed(NamedTuple):
    """The candles from which an answer differs, sorted by their treatment.

    Attributes:
        due: Doubts whose candle is replaced now.
        kept: Slots whose candle stays and is suspect.
        awaited: Slots whose candle stays until a second answer agrees with this one.
        known: The knowledge, with the rows that wait from now on.
        is_foreign: Whether the answer seems to be about another product; only its waiting rows are used then.
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

    An answer is strange if it seems to be about another product, or differs from a verified candle.

    | the candle                             | the answer | the row replaces it                                     |
    |----------------------------------------|------------|---------------------------------------------------------|
    | may not be replaced by the rules, or   | any        | never                                                   |
    |   is contested                         |            |                                                         |
    | has at most the volume of the row      | plausible  | at once                                                 |
    | the same                               | strange    | if an equal row comes 4 minutes later or more           |
    | has more volume than the row           | any        | if an equal row comes 4 minutes later or more, and      |
    |                                        |            | either the candle closed over an hour ago, or the       |
    |                                        |            | exchange had a bar that opened after the first request  |

    Args:
        doubts: Candles from which the answer differs.
        known: The knowledge before.
        answer: The answer; its `uncompared` rows were not compared.
        present: Slots of its range that hold a candle in the cache.
        venue: Facts about the exchange at that moment.
        step: The grid's step (ms).
        verified: Slots whose cached candle was verified by an earlier answer.
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
        # An equal row four minutes later shows that the answer is about this product after all.
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
    """Return the finding of a slot whose candle is replaced once a second answer agrees.

    The slot is asked for again after four minutes. If answers have disagreed for an hour, it rests after each pair.
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
    """Whether an answer may be about another product: over a fifth of the compared candles have another open."""
    opens = sum(one.differs_in_open for one in doubts)
    return compared >= _LEAST_COMPARED and opens * _ALIKE_IN_A_DIFFERENCE > compared


def _wait_for(before: Wait | None, candle: Candle, at: int) -> Wait:
    """Return the wait of a slot after one more row. A row with other values starts a new wait."""
    digest = hashlib.sha1(_VALUES.pack(*values_of(candle)), usedforsecurity=False).hexdigest()[:_DIGEST_LETTERS]
    if before is not None and before.row == digest and before.first <= at:
        return before
    return Wait(candle.timestamp, at, digest)


def _is_timely(wait: Wait, at: int, venue: Venue, step: int) -> bool:
    """Whether the bar closed over an hour ago, or the exchange had a bar that opened after the first request."""
    closed_at = wait.slot + step
    return closed_at < at - SURE_AFTER_MS or (venue.newest is not None and venue.newest >= wait.first)


CONTESTED_AFTER = 3
"""Number of replacements within a day that makes a slot contested."""

MOST_REPAIRED = 1_000
"""Limit on the slots of a series whose replacements are remembered; the newest are kept."""


def note_repairs(known: Knowledge, replaced: Intervals, at: int, step: int) -> Knowledge:
    """Return the knowledge after the exchange's candles replaced those in the slots `replaced` at `at` (ms UTC).

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
    """Whether a slot is contested at `at` (ms UTC), so that repair leaves it alone."""
    return (
        known is not None
        and known.reason is Reason.CONTESTED
        and known.next_check is not None
        and at < known.next_check
    )

"""Compare answers of the exchange with the cache: find the witnesses, and those that an answer lacks. Pure.

Section 1 of the rules of truth. An exchange that withholds candles answers with well-formed pages without them. But the
cache knows some of the candles that the page should have: these are its witnesses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.planning.ledger import Knowledge, Reason
from reconciler_engine.planning.sightings import IMPROBABLE, LEAST_PACE_SLOTS, PACE_SLOTS

WITNESS_AGE_MS = 120_000
"""A candle is a witness from two minutes after its close: until then, the exchange may not have published it."""

INDEPENDENT_AFTER_MS = 3_600_000
"""Time for which a candle from an answer is not an independent witness: the next answers may share its fault."""

OLD_ROW_MS = 3_600_000
"""A row that closed this long ago is whole, even as the newest row of its answer."""

SAME_MOMENT_MS = 300_000
"""Answers at most this far apart describe the same moment of the exchange."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A well-formed answer about the slots of an interval.

    Errors, timeouts, refusals, truncated bodies and wrong dates do not count as answers: they prove nothing.

    Attributes:
        asked: Slots asked for, half-open (ms UTC).
        at: Instant of the request (ms UTC), at or before the moment that the exchange describes.
        rows: Slots of its usable rows, also beyond `asked`; the forming bar may be among them.
        unusable: Slots of its unusable rows.
        is_whole: Whether it covers every slot asked for: the exchange read the range as asked, and the open time of
            every row could be read.
        doubted: Slots whose cached candle differs from the row and stays.
        awaited: Slots whose cached candle differs from the row and gives way once a second answer agrees.
        replaced: Slots whose cached candle differs from the row and is replaced by it.
        uncompared: Slots whose cached candle was not compared with the row: a doubt about the candle stays.
    """

    asked: Interval
    at: int
    rows: Intervals
    unusable: Intervals = field(default=NOTHING)
    is_whole: bool = True
    doubted: Intervals = field(default=NOTHING)
    awaited: Intervals = field(default=NOTHING)
    replaced: Intervals = field(default=NOTHING)
    uncompared: Intervals = field(default=NOTHING)

    def newest(self, step: int) -> int | None:
        """Return the open time of its newest row (ms UTC), the forming bar included; None without rows.

        Rows from the future are ignored.
        """
        rows = self.rows & Interval(0, (self.at + WITNESS_AGE_MS) // step * step + step)
        return rows[-1].stop - step if rows else None


class Venue(NamedTuple):
    """Facts about the exchange as a whole, at the moment of an answer.

    Attributes:
        newest: Open time of the newest row in any answer of the same five minutes (ms UTC), of any product and
            timeframe; None without a row.
        newest_alike: The same, among answers about the same timeframe.
        has_reference: Whether a reference covers the slots of the answer.
        is_hopeless: Whether references have failed for an hour, so that proofs must do without.
    """

    newest: int | None = None
    newest_alike: int | None = None
    has_reference: bool = False
    is_hopeless: bool = False


def closed_slots(at: int, age_ms: int, step: int) -> Interval:
    """Return all slots since the epoch that had been closed for at least `age_ms` at an instant (ms UTC)."""
    return Interval(0, max((at - age_ms) // step * step, 0))


def find_witnesses(answer: Answer, candles: Intervals, known: Knowledge, step: int) -> Intervals:
    """Return the slots for which an answer must have a row.

    | slot                                               | witness |
    |----------------------------------------------------|---------|
    | holds a candle that is not a filler                | yes     |
    | known to exist, with or without a member           | yes     |
    | suspect: not at the exchange                       | no      |
    | accepted by the operator                           | no      |
    | closed less than two minutes before the request    | no      |

    Args:
        answer: The answer.
        candles: Slots of the answer's range that hold a candle in the cache, without fillers.
        known: The knowledge about the series.
        step: The grid's step (ms).
    """
    ghosts = known.ledger.where(answer.asked, lambda finding: finding.reason is Reason.NOT_AT_EXCHANGE)
    silent = ghosts | Intervals.of_slots(sorted(known.accepted), step)
    return ((candles | known.exists) & answer.asked & closed_slots(answer.at, WITNESS_AGE_MS, step)) - silent


def find_lacking(answer: Answer, witnesses: Intervals) -> Intervals:
    """Return the witnesses that an answer lacks. A single one contradicts a whole answer.

    A witness with an unusable row is not lacking.
    """
    return witnesses - answer.rows - answer.unusable


def independent_of(witnesses: Intervals, known: Knowledge, at: int) -> Intervals:
    """Return the witnesses whose row did not come first in an answer of the last hour."""
    return witnesses - Intervals(one.slots for one in known.brought if at - one.at < INDEPENDENT_AFTER_MS)


def sudden_silence(there: Intervals, asked: Interval, closed: Interval, step: int) -> Interval:
    """Return the closed slots after a product's newest candle, if this silence is improbable at its pace of trading.

    A product that always trades and falls silent has stopped trading, or the exchange is late: only time tells which.
    Returns an empty interval if the silence is probable.

    Args:
        there: Slots of the answer's range with a row or a witness.
        asked: The answer's range.
        closed: Slots that had closed by then.
        step: The grid's step (ms).
    """
    nothing = Interval(closed.stop, closed.stop)
    if not there or there[-1].stop >= closed.stop:
        return nothing
    newest = there[-1].stop
    before = Interval(max(newest - PACE_SLOTS * step, asked.start), newest)
    slots, silent = before.size(step), (closed.stop - newest) // step
    if slots < LEAST_PACE_SLOTS or (1 - (there & before).size(step) / slots) ** silent >= IMPROBABLE:
        return nothing
    return Interval(newest, closed.stop)


def usable_rows(answer: Answer, lacking: Intervals, step: int) -> Intervals:
    """Return the rows that may fill a slot. The newest row is left out if the answer lacks a later witness."""
    newest = answer.newest(step)
    if newest is None or not lacking or lacking[-1].stop <= newest:
        return answer.rows
    return answer.rows - Interval(newest, newest + step)


def settled_rows(answer: Answer, venue: Venue, step: int) -> Intervals:
    """Return the rows that may verify or repair candles.

    The newest row may have been cut while it formed. It is left out unless any answer had a bar that opened at or after
    its close, or it closed an hour ago: no exchange answers with data that old.
    """
    newest = answer.newest(step)
    if newest is None or (venue.newest or 0) >= newest + step or newest + step <= answer.at - OLD_ROW_MS:
        return answer.rows
    return answer.rows - Interval(newest, newest + step)

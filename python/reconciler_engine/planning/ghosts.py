"""Ghosts: cached candles that the exchange does not have. They are suspected, rechecked, then removable. Pure.

Section 3 of the rules of truth.
"""

from __future__ import annotations

from functools import partial

from reconciler_engine.market.interval import NOTHING, Intervals
from reconciler_engine.planning.answers import Answer, Venue
from reconciler_engine.planning.ledger import OF_VALUES, Finding, Knowledge, Reason, State
from reconciler_engine.planning.sightings import (
    APART_MS,
    LEAST_WITNESSES,
    RECHECK_MS,
    THIRD_AFTER_MS,
    resting_until,
    seen_again,
)

_WITNESSES_A_GHOST = 9


def note_ghosts(
    known: Knowledge,
    answer: Answer,
    candles: Intervals,
    lacking: Intervals,
    witnesses: Intervals,
    venue: Venue,
    step: int,
) -> tuple[Knowledge, Intervals]:
    """Record the witnesses that a contradicted answer lacks; return the knowledge and the slots that need a reference.

    An answer that lacks over a tenth of its witnesses, or has rows for fewer than 30, proves nothing: the exchange may
    be withholding candles. Else the slots of the lacking witnesses become:

    | earlier answers lacked the same set      | reference    | with a member                | without one        |
    |------------------------------------------|--------------|------------------------------|--------------------|
    | no                                       | any          | suspect: lacked once         | as with a member   |
    | at least 4 min before                    | there is one | suspect: not at the exchange | missing: withdrawn |
    | an hour before, and again 4 min or later | hopeless     | suspect: not at the exchange | missing: withdrawn |
    |   after that                             |              |                              |                    |
    """
    ledger = known.ledger
    if (witnesses - lacking).size(step) < max(LEAST_WITNESSES, _WITNESSES_A_GHOST * lacking.size(step)):
        # A candle in doubt about its values rests, since no row came that could replace it.
        resting = ledger.where(answer.asked, lambda finding: finding.reason in OF_VALUES) & lacking & candles
        return known._replace(ledger=ledger.revise(resting, partial(_rest, at=answer.at))), NOTHING
    noted = ledger.where(answer.asked, is_lacked)
    firsts = {finding.first for _, _, finding in ledger.within(answer.asked) if is_lacked(finding)}
    if noted != lacking or len(firsts) > 1 or answer.at < min(firsts):
        ledger = ledger.revise(noted, lambda _: None)
        once = Finding(State.SUSPECT, Reason.LACKED_ONCE, answer.at, answer.at, 1, answer.at + APART_MS)
        return known._replace(ledger=ledger.revise(lacking, lambda _: once)), NOTHING
    before = ledger.within(lacking.hull)[0].finding.last
    ledger = ledger.revise(lacking, partial(_lack_again, at=answer.at))
    apart = answer.at - min(firsts)
    is_third = venue.is_hopeless and apart >= THIRD_AFTER_MS and before - min(firsts) >= APART_MS
    if not (is_third or (apart >= APART_MS and venue.has_reference)):
        waits = lacking if apart >= APART_MS else NOTHING
        return known._replace(ledger=ledger), waits
    ghost = Finding(State.SUSPECT, Reason.NOT_AT_EXCHANGE, answer.at, answer.at, 1, answer.at + RECHECK_MS[0])
    known = known._replace(ledger=ledger.revise(lacking & candles, lambda _: ghost), exists=known.exists - lacking)
    return withdraw(known, lacking - candles, answer.at), NOTHING


def withdraw(known: Knowledge, slots: Intervals, at: int) -> Knowledge:
    """Return the knowledge with these slots as withdrawn: the exchange once had their candles, the cache has none."""
    gone = Finding(State.MISSING, Reason.WITHDRAWN, at, at, 0, at)
    return known._replace(ledger=known.ledger.revise(slots, lambda _: gone), exists=known.exists - slots)


def _rest(known: Finding | None, at: int) -> Finding | None:
    return None if known is None else known._replace(next_check=resting_until(known.first, at))


def is_lacked(finding: Finding) -> bool:
    """Whether answers lacked a candle that the cache knows, and its existence is still unsettled."""
    return finding.reason is Reason.LACKED_ONCE


def _lack_again(known: Finding | None, at: int) -> Finding | None:
    return None if known is None else seen_again(known, at)


def recheck_ghosts(known: Knowledge, answer: Answer) -> tuple[Knowledge, Intervals]:
    """Record the ghosts that an uncontradicted answer lacks as well; return the knowledge and the removable ghosts."""
    ghosts = known.ledger.where(answer.asked, lambda finding: finding.reason is Reason.NOT_AT_EXCHANGE)
    ghosts = ghosts - answer.rows - answer.unusable
    ledger = known.ledger.revise(ghosts, partial(_confirm_ghost, at=answer.at))
    removable = ledger.where(answer.asked, partial(_is_confirmed_ghost, at=answer.at)) & ghosts
    return known._replace(ledger=ledger), removable


def _confirm_ghost(known: Finding | None, at: int) -> Finding | None:
    if known is None or known.next_check is None or at < known.next_check:
        return known
    return seen_again(known, at)._replace(next_check=resting_until(known.first, at))


def _is_confirmed_ghost(finding: Finding, at: int) -> bool:
    return finding.reason is Reason.NOT_AT_EXCHANGE and at >= finding.first + RECHECK_MS[-1]

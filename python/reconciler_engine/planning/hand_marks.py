"""Marks by the operator: set slots to a state for good, forget them, or accept members against any answer. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.planning.ledger import Finding, Knowledge, Reason, State

MOST_ACCEPTED = 1_000
"""Limit on the accepted members of a series: all are read together with its evidence."""

_DIGEST_LETTERS = 16


def mark(known: Knowledge, slots: Intervals, state: State, at: int) -> Knowledge:
    """Return the knowledge after the operator set these slots to a state for good, or (`UNKNOWN`) had them forgotten.

    Args:
        known: The knowledge before.
        slots: The slots, on the grid.
        state: `EMPTY`, `HALTED`, `UNLISTED` or `UNKNOWN`.
        at: Instant of the change (ms UTC).

    Raises:
        ValueError: The state is none of these four: only candles and answers give the others.
    """
    known = _without_marks(known, slots)._replace(exists=known.exists - slots)
    if state is State.UNKNOWN:
        return known._replace(ledger=known.ledger.revise(slots, lambda _: None))
    if state not in (State.EMPTY, State.HALTED, State.UNLISTED):
        raise ValueError(f"state {state.value!r} cannot be set by hand; allowed: empty, halted, unlisted, unknown")
    finding = Finding(state, Reason.BY_HAND, at, at, 1, None)
    return known._replace(ledger=known.ledger.revise(slots, lambda _: finding))


def accept(known: Knowledge, slots: Intervals, digests: Mapping[int, str], oldest: int) -> Knowledge:
    """Return the knowledge after the operator accepted the members of `slots` as right until they change.

    Args:
        known: The knowledge before.
        slots: The slots of the members, on the grid.
        digests: Digests of the members, by open time.
        oldest: Open time (ms UTC) before which accepted members are forgotten.

    Raises:
        ValueError: The series would have more than `MOST_ACCEPTED` accepted members.
    """
    known = _without_marks(known, slots)
    accepted = {slot: digest for slot, digest in sorted({**known.accepted, **digests}.items()) if slot >= oldest}
    if len(accepted) > MOST_ACCEPTED:
        raise ValueError(f"{len(accepted)} accepted slots of one series; allowed: at most {MOST_ACCEPTED}")
    return known._replace(ledger=known.ledger.revise(slots, lambda _: None), accepted=accepted)


def _without_marks(known: Knowledge, slots: Intervals) -> Knowledge:
    """Return the knowledge without the accepted members, repairs and waiting rows of these slots."""
    accepted = {slot: digest for slot, digest in known.accepted.items() if not slots.holds(slot)}
    repaired = tuple(one for one in known.repaired if not slots.holds(one.slot))
    waits = tuple(one for one in known.waits if not slots.holds(one.slot))
    return known._replace(accepted=accepted, repaired=repaired, waits=waits)


def digest_of(member: bytes) -> str:
    """Return the first 8 bytes of a member's SHA-1, in hex."""
    return hashlib.sha1(member, usedforsecurity=False).hexdigest()[:_DIGEST_LETTERS]


def is_accepted(known: Knowledge, open_time: int, member: bytes) -> bool:
    """Whether the operator accepted this member, byte for byte."""
    return open_time in known.accepted and known.accepted[open_time] == digest_of(member)


def drop_changed(known: Knowledge, interval: Interval, members: Mapping[int, bytes]) -> Knowledge:
    """Return the knowledge without accepted members in an interval that have changed or are gone from the cache.

    Args:
        known: The knowledge.
        interval: The slots that `members` was read from.
        members: Members in the cache, by open time.
    """
    changed = {
        slot
        for slot in known.accepted
        if slot in interval and not (slot in members and is_accepted(known, slot, members[slot]))
    }
    if not changed:
        return known
    kept = {slot: digest for slot, digest in known.accepted.items() if slot not in changed}
    return known._replace(accepted=kept)

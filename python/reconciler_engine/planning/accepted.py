"""Members of the cache that somebody accepted: right until they change, against any answer of the exchange. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.ledger import Knowledge

DIGEST_LETTERS = 16


def digest_of(member: bytes) -> str:
    """Return the first 8 bytes of a member's SHA-1, in hex."""
    return hashlib.sha1(member, usedforsecurity=False).hexdigest()[:DIGEST_LETTERS]


def is_accepted(known: Knowledge, open_time: int, member: bytes) -> bool:
    """Whether this very member was accepted."""
    return open_time in known.accepted and known.accepted[open_time] == digest_of(member)


def drop_changed(known: Knowledge, interval: Interval, members: Mapping[int, bytes]) -> Knowledge:
    """Return the knowledge without the marks in an interval whose member has changed or is gone.

    Args:
        known: The knowledge.
        interval: The slots of which `members` tells.
        members: Members by open time.
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

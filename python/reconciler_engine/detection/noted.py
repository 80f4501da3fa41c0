"""Read digests of verified and of accepted members, as the evidence stores them.

A field of the evidence holds a block of 60 slots: version 1 (u8), then a digest for each slot (12 lower-case hex
letters, the first 6 bytes of the member's SHA-1; NULs for a slot without digest), then an instant for each slot (u32).
The field `accepted` is a JSON object of members that the operator accepted: {"open time": "16 hex letters"}, as
`json.dumps` writes it without spaces.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

BLOCK_SLOTS: Final = 60
"""Number of slots whose digests one field holds."""

DIGEST_LETTERS: Final = 12
_NONE: Final = bytes(DIGEST_LETTERS)
VERSION: Final = b"\x01"
DIGESTS_END: Final = len(VERSION) + BLOCK_SLOTS * DIGEST_LETTERS
BLOCK_BYTES: Final = DIGESTS_END + BLOCK_SLOTS * 4

_PAIR = re.compile(rb'"([0-9]{1,15})":"([0-9a-f]{16})"')
_ACCEPTED = re.compile(rb"\{%b(?:,%b)*\}" % (_PAIR.pattern, _PAIR.pattern))


class Noted(NamedTuple):
    """Noted digests of the members of a series.

    Attributes:
        digests: Digests of verified members (12 hex letters), by open time (ms UTC).
        accepted: Digests of members that the operator accepted (16 hex letters), by open time (ms UTC).
    """

    digests: Mapping[int, bytes]
    accepted: Mapping[int, bytes]

    def fits(self, open_time: int, member: bytes) -> bool:
        """Whether this member, byte for byte, was verified in this slot. It was a candle then, so it still is."""
        return open_time in self.digests and _digest_of(member).startswith(self.digests[open_time])

    def accepts(self, open_time: int, member: bytes) -> bool:
        """Whether the operator accepted this member, byte for byte. If it is also a candle, it counts as verified."""
        return open_time in self.accepted and _digest_of(member).startswith(self.accepted[open_time])


def read_noted(bodies: Sequence[bytes], start: int, step: int) -> Noted:
    """Read the fields of consecutive blocks, the first of which holds `start` (ms UTC), and of `accepted` as the last.

    An empty or malformed field counts as a field without digests.
    """
    *blocks, accepted = bodies
    digests: dict[int, bytes] = {}
    for number, body in enumerate(blocks, start // step // BLOCK_SLOTS):
        if len(body) == BLOCK_BYTES and body.startswith(VERSION):
            letters = (body[at : at + DIGEST_LETTERS] for at in range(len(VERSION), DIGESTS_END, DIGEST_LETTERS))
            slots = enumerate(letters, number * BLOCK_SLOTS)
            digests.update((slot * step, digest) for slot, digest in slots if digest != _NONE)
    pairs = _PAIR.findall(accepted) if _ACCEPTED.fullmatch(accepted) else ()
    return Noted(digests, {int(open_time): digest for open_time, digest in pairs})


def _digest_of(member: bytes) -> bytes:
    return hashlib.sha1(member, usedforsecurity=False).hexdigest().encode()

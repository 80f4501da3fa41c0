"""Digests of verified members as fields of a series' evidence hash: one field per block of 60 slots.

| part      | bytes   | value                                                                              |
|-----------|---------|------------------------------------------------------------------------------------|
| version   | 1       | 1                                                                                  |
| digests   | 60 x 12 | first 6 bytes of the member's SHA-1, in hex; NUL for a slot that is not verified    |
| instants  | 60 x 4  | when the exchange was asked (s UTC, u32, little-endian); 0 for never               |

A slot is verified only while the digest of its member equals the stored one, so any change of the member ends it.
Only the merge script writes these fields.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reconciler_engine.detection.noted import BLOCK_BYTES, BLOCK_SLOTS, DIGEST_LETTERS, DIGESTS_END, VERSION
from reconciler_engine.market.interval import Interval

_PREFIX = "v"
_INSTANTS = struct.Struct(f"<{BLOCK_SLOTS}I")


class Verified(NamedTuple):
    """The digest of a verified member, and when the exchange was asked (ms UTC)."""

    digest: bytes
    at: int


def digest_of(member: bytes) -> bytes:
    """Return the digest of a member in the stored form."""
    return hashlib.sha1(member, usedforsecurity=False).hexdigest()[:DIGEST_LETTERS].encode()


def block_fields(slots: Interval, step: int) -> list[str]:
    """Return the names of the fields with the digests of an interval, ascending.

    Args:
        slots: The interval (ms UTC, half-open).
        step: The grid's step (ms).
    """
    block_ms = BLOCK_SLOTS * step
    return (
        [f"{_PREFIX}{block}" for block in range(slots.start // block_ms, -(-slots.stop // block_ms))] if slots else []
    )


def oldest_instants(bodies: Mapping[str, bytes]) -> dict[int, int]:
    """Return by block number when the block's oldest verification was (ms UTC); blocks without digests are left out.

    A digest without an instant counts as verified at 0.
    """
    found = {}
    for name, body in bodies.items():
        if len(body) == BLOCK_BYTES and body.startswith(VERSION):
            instants = _INSTANTS.unpack_from(body, DIGESTS_END)
            noted = [at for slot, at in enumerate(instants) if at or body[len(VERSION) + slot * DIGEST_LETTERS]]
            if noted:
                found[int(name.removeprefix(_PREFIX))] = min(noted) * 1_000
    return found


def decode_blocks(bodies: Mapping[str, bytes], step: int) -> dict[int, Verified]:
    """Return the digests by open time (ms UTC); malformed bodies are left out."""
    return {slot: verified for name, body in bodies.items() for slot, verified in _slots_of(name, body, step)}


def _slots_of(name: str, body: bytes, step: int) -> Iterator[tuple[int, Verified]]:
    if len(body) != BLOCK_BYTES or not body.startswith(VERSION):
        return
    start = int(name.removeprefix(_PREFIX)) * BLOCK_SLOTS * step
    for index, seconds in enumerate(_INSTANTS.unpack_from(body, DIGESTS_END)):
        if seconds:
            at = len(VERSION) + index * DIGEST_LETTERS
            yield start + index * step, Verified(body[at : at + DIGEST_LETTERS], seconds * 1_000)

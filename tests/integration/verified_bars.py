"""Members noted as verified: the block fields of a series' evidence, as a merge writes them."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping

from reconciler_engine.detection.noted import BLOCK_SLOTS, DIGEST_LETTERS
from reconciler_engine.store.verified_fields import digest_of


def block_fields_of(members: Mapping[int, bytes], step: int, at: int = 1_767_225_600) -> dict[str, bytes]:
    """Return the fields in which these members, by open time, are noted as verified at an instant (s UTC)."""
    blocks: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
    for open_time, member in members.items():
        block, slot = divmod(open_time // step, BLOCK_SLOTS)
        blocks[block][slot] = digest_of(member)
    return {
        f"v{block}": b"\1"
        + b"".join(digests.get(slot, bytes(DIGEST_LETTERS)) for slot in range(BLOCK_SLOTS))
        + struct.pack(f"<{BLOCK_SLOTS}I", *(at if slot in digests else 0 for slot in range(BLOCK_SLOTS)))
        for block, digests in blocks.items()
    }

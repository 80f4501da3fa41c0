"""Lengths that a server announces: bounded before its reply is parsed, for the parser makes room for all it is told."""

from __future__ import annotations

import re
from typing import Final

from reconciler_engine.errors import StoreError

MOST_ELEMENTS: Final = 1_000_000
"""Elements of one array, map or set of a reply; 8 MB of room. A scan's answers have 4,000."""

# An array, map, set, push message or attribute of seven digits or more, or of a sign that no length has.
_LARGE: Final = re.compile(rb"[*%~>|][+0-9]{7,}")
_HEADER_BYTES: Final = 32
_AGGREGATES: Final = frozenset(b"*%~>|")
_BLOBS: Final = frozenset(b"$!=")


class AnnouncedLengths:
    """Checks the lengths that replies announce, as their bytes arrive; starts at the beginning of a reply.

    A search for bytes that look like a large length costs next to nothing. The text of a cache member may look so, too:
    a match proves nothing, and the replies are then parsed header by header from their beginning.
    """

    def __init__(self) -> None:
        self._seen: list[bytes] = []
        self._rest = b""
        self._skip = 0
        self._follows = False
        self._tail = b""

    def check(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            StoreError: They announce more than `MOST_ELEMENTS` in one piece.
        """
        if self._follows:
            self._follow(data)
            return
        self._seen.append(data)
        if _LARGE.search(self._tail + data) is not None:
            self._follows = True
            seen, self._seen = b"".join(self._seen), []
            self._follow(seen)
        self._tail = data[-_HEADER_BYTES:]

    def _follow(self, data: bytes) -> None:
        """Go from header to header; `_skip` bytes of a blob, and a header that is cut, are left for the next bytes."""
        data = self._rest + data
        at = self._skip
        while at < len(data):
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            sign, announced = data[at], data[at + 1 : end]
            at = end + 2
            if sign in _AGGREGATES:
                _check(announced)
            elif sign in _BLOBS and announced.isdigit() and len(announced) < _HEADER_BYTES:
                at += int(announced) + 2
        self._rest, self._skip = data[at:], max(0, at - len(data))


def _check(announced: bytes) -> None:
    number = announced.lstrip(b"+0")
    if len(number) > len(str(MOST_ELEMENTS)) or (number.isdigit() and int(number) > MOST_ELEMENTS):
        raise StoreError(
            f"a reply announces {announced[:_HEADER_BYTES].decode('latin-1')} elements; allowed: {MOST_ELEMENTS}"
        )

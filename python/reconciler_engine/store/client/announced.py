"""Limits on the lengths that replies announce, checked before parsing: the parser allocates room for them at once."""

from __future__ import annotations

import re
from typing import Final

from reconciler_engine.errors import StoreError

MOST_ELEMENTS: Final = 1_000_000
"""Most elements of an array, map or set in a reply, for which the parser allocates 8 MB. A scan's reply has 4,000."""

# Header of an array, map, set, push message or attribute whose length has seven or more digits or plus signs.
_LARGE: Final = re.compile(rb"[*%~>|][+0-9]{7,}")
_HEADER_BYTES: Final = 32
_AGGREGATES: Final = frozenset(b"*%~>|")
_BLOBS: Final = frozenset(b"$!=")


class AnnouncedLengths:
    """Checks the lengths that replies announce, while their bytes arrive. The first bytes must begin a reply.

    A cheap search looks for bytes that resemble a large length. The text of a cache member may resemble one, too. So
    after a match, the replies are examined header by header, from their beginning.
    """

    def __init__(self) -> None:
        self._seen: list[bytes] = []
        self._rest = b""
        self._skip = 0
        self._follows = False
        self._tail = b""

    def check(self, data: bytes) -> None:
        """Check the next bytes.

        Raises:
            StoreError: They announce an array, map or set of more than `MOST_ELEMENTS` elements.
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
        """Check each header. Keep an incomplete one in `_rest`, and in `_skip` how many bytes of a blob are to come."""
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

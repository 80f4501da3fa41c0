"""The cursor of a reader of changes: a place in the feed of each series, as one opaque text."""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from reconciler_engine.store.change_feed import Place
from reconciler_engine.store.client.reply_shapes import whole

_VERSION: Final = 1
_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_LETTERS: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a reader has read.

    Attributes:
        owner: Whose series they are, as the names of keys have it.
        since: From when on changes of other series are read (ms UTC, by Redis' clock).
        note: The last note of the index that was heeded; 0 for none.
        swept_at: When all series were last looked at, by the reader's clock (s).
        places: Last entry read of each series, by its name.
    """

    owner: str
    since: int = 0
    note: int = 0
    swept_at: int = 0
    places: Mapping[str, Place] = field(default_factory=dict)

    def __str__(self) -> str:
        values = {"v": _VERSION, "o": self.owner, "s": self.since, "n": self.note, "w": self.swept_at, "p": self.places}
        return urlsafe_b64encode(zlib.compress(json.dumps(values, separators=(",", ":")).encode())).decode()

    @classmethod
    def read(cls, text: str, owner: str) -> Self:
        """Return the cursor of a text.

        Raises:
            ValueError: It is not one that was given out for this owner.
        """
        try:
            if len(text) > _MOST_LETTERS:
                raise ValueError(f"it has {len(text)} letters")
            unpacker = zlib.decompressobj()
            packed = urlsafe_b64decode(text.encode("ascii"))
            values: dict[str, Any] = json.loads(unpacker.decompress(packed, _MOST_BYTES))
            if values["v"] != _VERSION:
                raise ValueError(f"it is of version {values['v']!r}")
            places = {str(name): Place(*map(whole, place)) for name, place in values["p"].items()}
            cursor = cls(str(values["o"]), whole(values["s"]), whole(values["n"]), whole(values["w"]), places)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, zlib.error) as error:
            raise ValueError(f"cursor {text[:40]!r} is not one that changes() gave: {str(error)[:80]}") from error
        if cursor.owner != owner:
            raise ValueError(f"cursor is one for {cursor.owner}; allowed: one for {owner}")
        return cursor

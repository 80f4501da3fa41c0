"""Public names of an API key, from which the key cannot be recovered."""

from __future__ import annotations

from typing import NamedTuple


class Identity(NamedTuple):
    """Names that are derived from an API key and are the same on every machine.

    Attributes:
        name: Derived from the key's name; the request budget is kept under it.
        key: Derived from the name and the key itself; changes when the key is replaced under the same name.
    """

    name: str
    key: str

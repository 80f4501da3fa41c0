"""The identity a client asks under, as others may know it: names, from which no key can be had back."""

from __future__ import annotations

from typing import NamedTuple


class Identity(NamedTuple):
    """Names of what belongs to an API key; the same on every machine.

    Attributes:
        name: For what goes by the key's name, such as its request budget.
        key: For what goes by the key itself: another one once it was replaced, though the name may stay.
    """

    name: str
    key: str

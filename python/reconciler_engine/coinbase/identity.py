"""The identity a client asks under, as others may know it: names, from which no key can be had back."""

from __future__ import annotations

from typing import NamedTuple


class Identity(NamedTuple):
    """Names that belong to an API key, the same on every machine.

    Attributes:
        name: Stands for the key's name, such as in its request budget.
        key: Stands for the key itself: another one once the key is replaced, even if its name stays.
    """

    name: str
    key: str

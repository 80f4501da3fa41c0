"""Hash slots of a cluster: the slot of a command, the slot map, and the redirects MOVED and ASK."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from reconciler_engine.errors import StoreError
from reconciler_engine.steps import Command
from reconciler_engine.store.client.cluster_address import Place
from reconciler_engine.store.client.commands import keys_of
from reconciler_engine.store.client.redis_py import REDIS_CLUSTER_HASH_SLOTS, key_slot
from reconciler_engine.store.client.reply_shapes import text, understanding, whole

_WORDS_OF_A_REDIRECTION: Final = 3


class SlotRange(NamedTuple):
    """Consecutive slots, `first` and `last` included, and their nodes: the primary, then its replicas."""

    first: int
    last: int
    nodes: tuple[Place, ...]


class Redirection(NamedTuple):
    """The node to which a command is redirected: for good by MOVED, for this once by ASK."""

    slot: int
    place: Place
    is_for_good: bool


@dataclass(slots=True)
class Unit:
    """Commands of a batch that go to one node together: a single command, or a transaction.

    Attributes:
        start: Index of the first in the batch.
        stop: Index after the last.
        slot: Slot of the first key; None without a key.
        asked: Node that an ASK redirect names for the next try; None for the slot's own node.
    """

    start: int
    stop: int
    slot: int | None
    asked: Place | None = None


def slot_of(key: str | float | bytes) -> int:
    """Return the slot of a key, or of its hash tag if it has one."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def units_of(commands: Sequence[Command], keys: Sequence[str] = ()) -> Iterator[Unit]:
    """Yield the units of a batch. The first of `keys` determines the slot of commands that name no key."""
    start, slot = 0, None
    is_open = False
    elsewhere = slot_of(keys[0]) if keys else None
    for index, command in enumerate(commands):
        name = str(command[0]).upper()
        is_open = (is_open or name == "MULTI") and name not in {"EXEC", "DISCARD"}
        if slot is None and (named := keys_of(command)):
            slot = slot_of(named[0])
        if not is_open:
            yield Unit(start, index + 1, elsewhere if slot is None else slot)
            start, slot = index + 1, None


def read_slot_ranges(reply: Any, asked: Place) -> list[SlotRange]:
    """Read the slot map from a reply to `CLUSTER SLOTS`; a node announced without a host is at the host of `asked`.

    Raises:
        StoreError: The reply has another shape.
    """
    most = REDIS_CLUSTER_HASH_SLOTS - 1
    ranges = []
    with understanding("the slots of a cluster"):
        for first, last, primary, *replicas in reply:
            nodes = tuple(_place(node, asked) for node in (primary, *replicas))
            ranges.append(SlotRange(whole(first, 0, most), whole(last, 0, most), nodes))
    return ranges


def _place(node: Sequence[Any], asked: Place) -> Place:
    host, port = node[:2]
    name = "" if host is None else text(host)
    return (asked[0] if name in {"", "?"} else name), whole(port, 1, 65_535)


def redirection(reply: object, asked: Place) -> Redirection | None:
    """Read a redirect from a reply; None if it is another reply, or malformed.

    `asked` is the node that replied, whose host completes an address without a host.
    """
    if not isinstance(reply, StoreError) or reply.code not in {"MOVED", "ASK"}:
        return None
    words = str(reply).split()[-_WORDS_OF_A_REDIRECTION:]
    try:
        _, slot, place = words
        host, _, port = place.rpartition(":")
        number = whole(slot, 0, REDIS_CLUSTER_HASH_SLOTS - 1)
        return Redirection(number, (host or asked[0], whole(port, 1, 65_535)), reply.code == "MOVED")
    except ValueError:
        return None

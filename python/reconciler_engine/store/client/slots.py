"""Slots of a cluster: which of them a command belongs to, which node has which, and where a node sends one away to."""

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
    """Slots in a row, `last` included, and the nodes that have them: the primary, then its replicas."""

    first: int
    last: int
    nodes: tuple[Place, ...]


class Redirection(NamedTuple):
    """The node that a command is redirected to; `is_for_good` if the slot has moved (MOVED), not for ASK."""

    slot: int
    place: Place
    is_for_good: bool


@dataclass(slots=True)
class Unit:
    """Commands of a batch that one node gets in one piece: one alone, or a transaction.

    Attributes:
        start: Index of the first in the batch.
        stop: Index after the last.
        slot: Slot of the first key; None without a key.
        asked: Node that is to be asked this once, by ASK; None where the slot's own is.
    """

    start: int
    stop: int
    slot: int | None
    asked: Place | None = None


def slot_of(key: str | float | bytes) -> int:
    """Return the slot of a key: of its hash tag, where it has one."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def units_of(commands: Sequence[Command], keys: Sequence[str] = ()) -> Iterator[Unit]:
    """Yield the commands of a batch as they have to stay together; `keys` say where those belong that name none."""
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
    """Return the map in a reply to `CLUSTER SLOTS`; a node without a name of its own is at the host that was asked.

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
    """Return where a reply sends its command away to; None where it is another one, or says nothing that can be used.

    `asked` is the node that gave it, for an address without a host.
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

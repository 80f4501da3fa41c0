"""Calls of the token bucket's script over the engine's own client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from reconciler_engine.limiting.permit_steps import AskScript
from reconciler_engine.limiting.redis_bucket import RunScript, script_text
from reconciler_engine.steps import Steps
from reconciler_engine.store.client.reply_shapes import optional_bytes, text, understanding, whole
from reconciler_engine.store.client.scripts import Client, Script, batch
from reconciler_engine.store.client.trio_redis import all_served

_TOKEN_BUCKET: Final = Script(script_text(), "token_bucket.lua")
_INHERIT: Final = Script.load("reconciler_engine.store", "lua/inherit.lua")

_LENGTHS: Final[dict[str, dict[int, int]]] = {
    "reserve": {0: 2, 1: 5, 3: 2, 4: 3, 5: 4},
    "spare": {0: 2, 1: 5, 3: 2, 4: 3, 5: 4},
    "confirm": {0: 1, 1: 2, 2: 2},
}
"""Length of a reply, by operation and by the reply's first number."""

_OTHER_LENGTHS: Final = {"push": {1}, "report": {2}, "forgive": {0}, "read": {0, 14, 15}}
_MOST_FIELDS: Final = 64
_MOST: Final = 9_000_000_000_000_000
_LONGEST_WAIT_US: Final = 2 * 3_600_000_000


def bucket_script(client: Client, older: Mapping[str, str] = MappingProxyType({})) -> RunScript:
    """Return the functions by which a `TokenBucket` asks Redis; a reply of another shape is a `StoreError`.

    Keys that are not there yet inherit the fields of their `older` names, before the first question.
    """
    heirs = dict(older)

    async def run(*, keys: Sequence[str], args: Sequence[int | str]) -> list[int]:
        # Tasks ask at the same time: the second finds the key there.
        for key, before in [*heirs.items()]:
            await _inherit(client, key, before)
            heirs.pop(key, None)
        reply = await _TOKEN_BUCKET.run(client, keys=keys, args=args)
        with understanding("a permit"):
            return _checked(str(args[0]), [whole(number, -_MOST, _MOST) for number in reply])

    return run


def bucket_steps(*keys: str) -> AskScript:
    """Return the script's calls as steps, for programs that bring their own client."""

    def ask(*arguments: int | str, last_s: float | None = None) -> Steps[list[int]]:
        (reply,) = all_served((yield from batch([_TOKEN_BUCKET.call(keys, arguments)], last_s)))
        with understanding("a permit"):
            return _checked(str(arguments[0]), [whole(number, -_MOST, _MOST) for number in reply])

    return ask


class Terms(NamedTuple):
    """Settings of a bucket that an engine made: how late its permits may be used, and its circuit breaker."""

    lateness_us: int
    breaker: str


def read_terms(key: str) -> Steps[Terms | None]:
    """Return the terms of a bucket; None before an engine has made it."""
    (reply,) = all_served((yield from batch([_TOKEN_BUCKET.call((key, key), ("terms",))])))
    with understanding("a budget"):
        return Terms(whole(reply[0]), text(reply[1])) if reply else None


async def _inherit(client: Client, key: str, older: str) -> None:
    """Give a key the fields of its older name; no script touches both, they may lie in two Cluster slots."""
    with understanding("an older bucket"):
        found = await client.execute_command("HGETALL", older)
        fields = [optional_bytes(word) or b"" for pair in found.items() for word in pair]
    if 0 < len(fields) <= _MOST_FIELDS:
        await _INHERIT.run(client, keys=[key], args=fields)


def _checked(operation: str, reply: list[int]) -> list[int]:
    """Return a reply after checks of its length and of its wait, which must be finite."""
    if operation in _LENGTHS:
        if len(reply) != _LENGTHS[operation][reply[0]]:
            raise ValueError(f"{len(reply)} numbers in a reply to {operation}")
        if len(reply) > 1:
            whole(reply[1], 0, _LONGEST_WAIT_US)
    elif len(reply) not in _OTHER_LENGTHS[operation]:
        raise ValueError(f"{len(reply)} numbers in a reply to {operation}")
    return reply

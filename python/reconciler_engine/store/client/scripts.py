"""Lua scripts, called by hash; their text is sent to a server that does not have them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Protocol, Self

from reconciler_engine.errors import StoreError
from reconciler_engine.steps import Argument, Command, Send, Split, Steps
from reconciler_engine.store.client.redis_py import NoScriptError
from reconciler_engine.store.client.trio_driver import converse
from reconciler_engine.store.client.trio_redis import TrioRedis

NO_SCRIPT = "NOSCRIPT"


class Client(Protocol):
    """A client of any kind, as far as a script needs it."""

    async def execute_command(self, *args: Argument) -> Any:
        """Send one command and return its reply."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and its hash, by which servers call it.

    Attributes:
        text: The source.
        name: File name, for messages.
    """

    text: str = field(repr=False)
    name: str
    sha: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Redis identifies scripts by SHA-1, which protects nothing here.
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)

    @classmethod
    def load(cls, package: str, *names: str) -> Self:
        """Join files of a package (such as `lua/merge.lua`) into a script, named after the last one."""
        folder = files(package)
        texts = [folder.joinpath(name).read_text("utf-8") for name in names]
        return cls("\n".join(texts), names[-1].rpartition("/")[2])

    async def run(self, client: Client, *, keys: Sequence[str | bytes], args: Sequence[Argument] = ()) -> Any:
        """Run the script and return its raw reply.

        If the server does not have the script (new, restarted or flushed), its text is sent: NOSCRIPT proves that
        nothing ran.

        Raises:
            StoreError: As `client.execute_command`; an error that the script returns is a StoreRefused.
        """
        try:
            return await client.execute_command(*self.by_hash(keys, args))
        except StoreError as error:
            if error.code != NO_SCRIPT:
                raise
        return await client.execute_command(*self.by_text(keys, args))

    def call(self, keys: Sequence[str | bytes], args: Sequence[Argument] = ()) -> ScriptCall:
        """Return a call to be sent in a batch by `run_batch`."""
        return ScriptCall(self, tuple(keys), tuple(args))

    def by_hash(self, keys: Sequence[str | bytes], args: Sequence[Argument]) -> Command:
        """Return the EVALSHA command."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)

    def by_text(self, keys: Sequence[str | bytes], args: Sequence[Argument]) -> Command:
        """Return the EVAL command, which also loads the script into the server."""
        return ("EVAL", self.text, len(keys), *keys, *args)


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A script with its keys and arguments."""

    script: Script
    keys: tuple[str | bytes, ...]
    args: tuple[Argument, ...]


async def run_batch(client: TrioRedis, calls: Sequence[ScriptCall]) -> list[Any]:
    """Send script calls as `batch` does.

    Raises:
        StoreUnavailable: Not all replies came; it is unknown which commands took effect.
    """
    return await converse(client, batch(calls))


def batch(calls: Sequence[ScriptCall], last_s: float | None = None) -> Steps[list[Any]]:
    """Send script calls in one write; return raw replies, or an exception in place of each that failed, in order.

    Calls whose script a server does not have are sent again in a second write, with the text once for each script and
    server. So the calls of a batch may run in another order than given, and must not depend on each other. `last_s` is
    that of `Send`.
    """
    replies: list[Any] = yield Send([call.script.by_hash(call.keys, call.args) for call in calls], last_s)
    unknown = [index for index, reply in enumerate(replies) if is_unknown_script(reply)]
    if not unknown:
        return replies
    again = {index: calls[index].script.by_hash(calls[index].keys, calls[index].args) for index in unknown}
    for part in (yield Split([calls[index].keys[0] for index in unknown])):
        # At each node, the first call of a script brings its text.
        firsts = {calls[unknown[at]].script.sha: unknown[at] for at in reversed(part)}
        again |= {index: calls[index].script.by_text(calls[index].keys, calls[index].args) for index in firsts.values()}
    for index, reply in zip(unknown, (yield Send([*again.values()], last_s)), strict=True):
        replies[index] = reply
    return replies


def is_unknown_script(reply: object) -> bool:
    """Whether a reply is NOSCRIPT: the server does not have the script, and nothing ran."""
    return (isinstance(reply, StoreError) and reply.code == NO_SCRIPT) or isinstance(reply, NoScriptError)

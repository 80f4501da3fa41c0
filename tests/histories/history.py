"""What each process asked of Redis, and what it heard: the history of a run, as its checks read it.

A call is invoked, and then succeeds, fails (nothing took effect) or stays unknown (the answer never came).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any, Final, NamedTuple

import pytest
import trio

from reconciler_engine.errors import StoreError, StoreRefused
from reconciler_engine.store.client.scripts import Script

SCRIPTS: Final = frozenset(
    {"claim.lua", "enqueue.lua", "lease.lua", "merge.lua", "open.lua", "run.lua", "token_bucket.lua"}
)
FEEDER: Final = "feeder"


class End(StrEnum):
    """How a call ended."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Call(NamedTuple):
    """One call of a script, or one write of a feeder.

    Attributes:
        process: Who called.
        name: The script's file, or `FEEDER`.
        keys: Its keys.
        args: Its arguments as text.
        began: When it was invoked (s, one clock for all).
        ended: When its answer was there; infinite where none came.
        end: How it ended.
        reply: Its answer; None where there is none.
    """

    process: str
    name: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    began: float
    ended: float
    end: End
    reply: Any

    @property
    def is_ok(self) -> bool:
        """Whether it is known to have taken effect."""
        return self.end is End.OK

    def is_before(self, other: Call) -> bool:
        """Whether it was over before the other began: then it took effect first, on one and the same server."""
        return self.ended < other.began


@dataclass
class History:
    """All calls of a run, when servers changed (between two there is one), and how often it was in rare states."""

    calls: list[Call] = field(default_factory=list)
    failovers: list[float] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)

    def of(self, name: str, *first: str) -> Iterator[Call]:
        """Give the calls of a script that begin with these arguments, in the order in which they were invoked."""
        found = (call for call in self.calls if call.name == name and call.args[: len(first)] == first)
        return iter(sorted(found, key=lambda call: call.began))

    def parted(self, one: Call, other: Call) -> bool:
        """Whether a server was lost between the beginnings of two calls, and perhaps the first one's effect with it."""
        return any(one.began <= at <= other.ended for at in self.failovers)

    def note_failover(self) -> None:
        """Note that a server is lost about now."""
        self.failovers.append(trio.current_time())

    async def feed(self, key: str, slot: int, member: bytes, write: Callable[[], Any]) -> None:
        """Have a feeder write a member, and note it."""
        await self._note(FEEDER, FEEDER, (key,), (str(slot), member.decode()), write)

    def note_removed(self, key: str, slots: Sequence[int], began: float) -> None:
        """Note that a feeder removed what was in some slots, between `began` and now."""
        ended = trio.current_time()
        self.calls += (Call(FEEDER, FEEDER, (key,), (str(slot), ""), began, ended, End.OK, None) for slot in slots)

    @contextmanager
    def recording(self, monkeypatch: pytest.MonkeyPatch, names: Mapping[int, str]) -> Iterator[None]:
        """Note every call of a script in this block; `names` are those of the clients, by identity."""
        run, by_text = Script.run, Script.by_text

        def taught(script: Script, keys: Sequence[Any], args: Sequence[Any]) -> Any:
            self.marks[f"NOSCRIPT in {script.name}"] += 1
            return by_text(script, keys, args)

        async def noted(script: Script, client: Any, *, keys: Sequence[Any], args: Sequence[Any] = ()) -> Any:
            if script.name not in SCRIPTS:
                return await run(script, client, keys=keys, args=args)
            return await self._note(
                names.get(id(client), "?"), script.name, tuple(map(_text, keys)), tuple(map(_text, args)),
                lambda: run(script, client, keys=keys, args=args),
            )  # fmt: skip

        with monkeypatch.context() as patch:
            patch.setattr(Script, "run", noted)
            patch.setattr(Script, "by_text", taught)
            yield

    async def _note(self, process: str, name: str, keys: Any, args: Any, act: Callable[[], Any]) -> Any:
        began, end, reply, ended = trio.current_time(), End.UNKNOWN, None, inf
        try:
            reply = await act()
            end, ended = End.OK, trio.current_time()
        except StoreError as error:
            if isinstance(error, StoreRefused):
                end, ended = End.FAILED, trio.current_time()
            raise
        else:
            return reply
        finally:
            self.calls.append(Call(process, name, keys, args, began, ended, end, reply))


def plan_of(merge: Call) -> Any:
    """Return what a merge was to write."""
    return json.loads(merge.args[0])


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)

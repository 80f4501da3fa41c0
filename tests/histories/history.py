"""Questions of each process to Redis, and their answers: the history of a run, as its checks read it.

A call is invoked, and then succeeds, fails (nothing took effect) or stays unknown (the answer never came).
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from tests.histories.recorder import End, Event, install

FEEDER: Final = "feeder"
REPOSITORY: Final = Path(__file__).parents[2]


class Call(NamedTuple):
    """One call of a script, or one write of a feeder.

    Attributes:
        process: Process that called.
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


class Failover(NamedTuple):
    """From when on a server was gone, and since when its successor serves (s)."""

    start: float
    stop: float


@dataclass
class History:
    """All calls of a run, when servers changed (between two there is one), and how often it was in rare states."""

    calls: list[Call] = field(default_factory=list)
    failovers: list[Failover] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)
    _places: dict[tuple[str, int], int] = field(default_factory=dict)
    _named: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _read_to: Counter[Path] = field(default_factory=Counter)

    def of(self, name: str, *first: str) -> Iterator[Call]:
        """Give the calls of a script that begin with these arguments, in the order in which they were invoked."""
        found = (self.calls[place] for place in self._named[name])
        return iter(sorted((one for one in found if one.args[: len(first)] == first), key=lambda call: call.began))

    def newest(self, name: str, most: int) -> list[Call]:
        """Return the calls of a script that were noted last."""
        return [self.calls[place] for place in self._named[name][-most:]]

    def parted(self, one: Call, other: Call) -> bool:
        """Whether a server was lost between the beginnings of two calls, and perhaps the first one's effect with it."""
        return any(one.began <= lost.stop and lost.start <= other.ended for lost in self.failovers)

    @contextmanager
    def failing_over(self) -> Iterator[None]:
        """Note that a server is lost within this block, at whose end its successor serves."""
        self.failovers.append(Failover(time.monotonic(), inf))
        yield
        self.failovers[-1] = self.failovers[-1]._replace(stop=time.monotonic())

    async def feed(self, key: str, slot: int, member: bytes, write: Callable[[], Any]) -> None:
        """Have a feeder write a member, and note it."""
        began = time.monotonic()
        await write()
        self._note_fed(key, slot, member.decode(), began)

    def note_removed(self, key: str, slots: Sequence[int], began: float) -> None:
        """Note that a feeder removed what was in some slots, between `began` and now."""
        for slot in slots:
            self._note_fed(key, slot, "", began)

    def _note_fed(self, key: str, slot: int, member: str, began: float) -> None:
        self._add(Call(FEEDER, FEEDER, (key,), (str(slot), member), began, time.monotonic(), End.OK, None))

    def _add(self, call: Call) -> None:
        self._named[call.name].append(len(self.calls))
        self.calls.append(call)

    @contextmanager
    def recording(self, monkeypatch: pytest.MonkeyPatch, process: str = "one") -> Iterator[None]:
        """Note every call of a script that this process makes in this block."""
        with monkeypatch.context() as patch:
            install(partial(self.take, process), patch.setattr)
            yield

    def take(self, process: str, event: Event) -> None:
        """Take a note of a process."""
        if "mark" in event:
            self.marks[event["mark"]] += 1
        elif "name" in event:
            self._places[process, event["id"]] = len(self.calls)
            keys, args = (tuple(event[name]) for name in ("keys", "args"))
            self._add(Call(process, event["name"], keys, args, event["at"], inf, End.UNKNOWN, None))
        else:
            place, end = self._places.pop((process, event["id"])), End(event["end"])
            ended = inf if end is End.UNKNOWN else event["at"]
            self.calls[place] = self.calls[place]._replace(end=end, ended=ended, reply=event["reply"])

    def join(self, folder: Path) -> None:
        """Take what processes have noted in their files since the last time."""
        for path in sorted(folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read_to[path])
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read_to[path] += len(whole)
            for line in whole.splitlines():
                self.take(path.stem, json.loads(line))

    def write(self, path: Path) -> None:
        """Write all of it, a line a call or failover; an end that never came is null."""
        with path.open("w") as file:
            for call in self.calls:
                ended = None if call.ended == inf else call.ended
                file.write(f"{json.dumps({**call._asdict(), 'ended': ended})}\n")
            file.writelines(f"{json.dumps({'name': 'failover', **lost._asdict()})}\n" for lost in self.failovers)


def recorded_environment(folder: Path, fault: str = "") -> dict[str, str]:
    """Return the environment in which processes note their calls in a folder, with a fault planted in them."""
    paths = f"{Path(__file__).with_name('recorded')}:{REPOSITORY}"
    planted = {"HISTORY_FAULT": fault} if fault else {}
    return {"PYTHONPATH": paths, "HISTORY_FOLDER": str(folder), **planted}


@lru_cache(maxsize=100_000)
def _plan_of(text: str) -> Any:
    return json.loads(text)


def plan_of(merge: Call) -> Any:
    """Return what a merge was to write."""
    return _plan_of(merge.args[0])

"""Each call of a script that a process makes, noted as it is invoked and as it ends.

`recorded/sitecustomize.py` has every Python below a test write its own notes, a line each, into a file of its own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, Final

from reconciler_engine.errors import StoreError, StoreRefused, StoreUnavailable
from reconciler_engine.store.client.cluster import Cluster
from reconciler_engine.store.client.scripts import Script

SCRIPTS: Final = frozenset({"claim.lua", "lease.lua", "merge.lua", "open.lua", "run.lua", "token_bucket.lua"})
ASK_FOLLOWED: Final = "ASK followed"
PART_FAILED: Final = "part of a pipeline failed"

Event = dict[str, Any]
Note = Callable[[Event], None]
Replace = Callable[[Any, str, Any], None]


class End(StrEnum):
    """How a call ended."""

    OK = "ok"
    FAILED = "failed"
    """Nothing took effect."""
    UNKNOWN = "unknown"
    """No answer came."""


def install(note: Note, replace: Replace = setattr) -> None:
    """Have all calls of this process noted from now on, and each rare state that its client is in."""
    _note_calls(note, replace)
    _note_states(note, replace)


def _note_calls(note: Note, replace: Replace) -> None:
    run, by_text, numbers = Script.run, Script.by_text, count()

    def taught(script: Script, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        note({"mark": f"NOSCRIPT in {script.name}"})
        return by_text(script, keys, args)

    async def noted(script: Script, client: Any, *, keys: Sequence[Any], args: Sequence[Any] = ()) -> Any:
        if script.name not in SCRIPTS:
            return await run(script, client, keys=keys, args=args)
        number, end, reply = next(numbers), End.UNKNOWN, None
        said = [list(map(str, map(plain, texts))) for texts in (keys, args)]
        note({"id": number, "at": time.monotonic(), "name": script.name, "keys": said[0], "args": said[1]})
        try:
            reply = await run(script, client, keys=keys, args=args)
            end = End.OK
        except StoreRefused:
            end = End.FAILED
            raise
        else:
            return reply
        finally:
            note({"id": number, "at": time.monotonic(), "end": end, "reply": plain(reply)})

    replace(Script, "run", noted)
    replace(Script, "by_text", taught)


def _note_states(note: Note, replace: Replace) -> None:
    exchange, sort = Cluster.exchange, Cluster._sort

    async def sent(cluster: Cluster, *args: Any, **options: Any) -> Any:
        replies = await exchange(cluster, *args, **options)
        if any(isinstance(one, StoreUnavailable) for one in replies) and not all(
            isinstance(one, StoreError) for one in replies
        ):
            note({"mark": PART_FAILED})
        return replies

    def sorted_out(cluster: Cluster, batch: Any, place: Any, unit: Any, replies: Any) -> bool:
        was_asked = unit.asked is not None
        is_done = sort(cluster, batch, place, unit, replies)
        if was_asked and is_done:
            note({"mark": ASK_FOLLOWED})
        return is_done

    replace(Cluster, "exchange", sent)
    replace(Cluster, "_sort", sorted_out)


def plain(value: Any) -> Any:
    """Return a value of Redis as JSON has it."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return [*map(plain, value)] if isinstance(value, list | tuple) else value


def record_into(folder: Path) -> None:
    """Have this process note its calls in a file of its own, which stands whenever the process is killed."""
    path = folder / f"{os.getpid()}-{time.monotonic_ns()}.jsonl"
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    install(lambda event: _write(file, f"{json.dumps(event)}\n".encode()))


def _write(file: int, line: bytes) -> None:
    while line:
        line = line[os.write(file, line) :]

"""Faults to be planted: each takes a rule out of a script, by which the checks must find real calls of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from reconciler_engine.store.client.scripts import Script


@dataclass(frozen=True)
class Fault:
    """Rules of a script, and what is to stand there instead.

    Attributes:
        module: Module below `reconciler_engine.store` that holds the script.
        name: Name of the script in there.
        rules: Text of each rule, and the text in its place.
    """

    module: str
    name: str
    rules: tuple[tuple[str, str], ...]

    def plant(self, replace: Callable[[Any, str, Any], None] = setattr) -> None:
        """Take the rules out, for this process."""
        module = import_module(f"reconciler_engine.store.{self.module}")
        script = getattr(module, self.name)
        text = script.text
        for rule, instead in self.rules:
            assert rule in text
            text = text.replace(rule, instead)
        replace(module, self.name, Script(text, script.name))


FENCE_REMOVED: Final = "fence removed"
EPOCH_NOT_RAISED: Final = "epoch not raised"
COMPARE_AND_SET_REMOVED: Final = "compare-and-set removed"
SUPERSEDED_RUN_OPEN: Final = "superseded run open"
SLOT_CLAIMED_TWICE: Final = "slot claimed twice"
BUDGET_WITHOUT_LIMIT: Final = "budget without limit"
FAULTS: Final = {
    FENCE_REMOVED: Fault("tasks", "_RUN", (("HGET', KEYS[5], 'epoch') ~= epoch", "HGET', KEYS[5], 'epoch') == nil"),)),
    EPOCH_NOT_RAISED: Fault(
        "leases", "_LEASE", (("math.max((last < 9e15 and last or 0) + 1, now)", "math.max(last, 7)"),)
    ),
    COMPARE_AND_SET_REMOVED: Fault(
        "merge_script",
        "MERGE",
        (
            ("there.member ~= yielding[open_times[i]]", "not yielding[open_times[i]]"),
            ("#found ~= 1 or found[1] ~= member", "#found ~= 1"),
        ),
    ),
    SUPERSEDED_RUN_OPEN: Fault("tasks", "_OPEN", (("return 0\nend\nif not", "return 0\nend\nif true or not"),)),
    SLOT_CLAIMED_TWICE: Fault("claims", "_CLAIM", (("return { 0, claim.token, claim.life - now }", "gone = gone"),)),
    BUDGET_WITHOUT_LIMIT: Fault(
        "bucket_script",
        "_TOKEN_BUCKET",
        (
            ("return at + limit.tolerance + limit.interval", "return 0"),
            ("math.max(bucket.tats[i], slot) + interval", "0"),
        ),
    ),
}

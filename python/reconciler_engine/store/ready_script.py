"""The ready gate's script, for any program that can send EVAL: one key, read only."""

from __future__ import annotations

from typing import Final

from reconciler_engine.store.client.scripts import Script

_RULES = Script.load("reconciler_engine", "limiting/origin.lua", "store/lua/candle.lua").text
_HEAD, _, _BODY = Script.load("reconciler_engine.store", "lua/ready.lua").text.partition("\n\n")

READY_TEXT: Final = f"{_HEAD}\n\n{_RULES}\n{_BODY}"
"""Its first lines describe arguments and reply; the rule for a candle follows them."""

READY: Final = Script(READY_TEXT, "ready.lua")
"""The same for our own clients, which send it once."""

"""The ready gate's script, for whoever can send EVAL, in any language: one key, read only."""

from __future__ import annotations

from typing import Final

from reconciler_engine.store.client.scripts import Script

READY_TEXT: Final = Script.load("reconciler_engine.store", "lua/ready.lua").text
"""Its first lines say what it takes and gives."""

"""The token bucket's script, for a client of ours."""

from __future__ import annotations

from functools import partial
from typing import Final

from reconciler_engine.limiting.redis_bucket import RunScript, script_text
from reconciler_engine.store.client.scripts import Client, Script

_TOKEN_BUCKET: Final = Script(script_text(), "token_bucket.lua")


def bucket_script(client: Client) -> RunScript:
    """Return what a `TokenBucket` asks Redis by."""
    return partial(_TOKEN_BUCKET.run, client)

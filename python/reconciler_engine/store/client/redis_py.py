"""All that the store uses of redis-py below its public interface; no other module imports those parts.

The command layer, the response callbacks and the reply errors of redis-py are semi-public: a minor version is pinned in
pyproject.toml, and tests/unit/test_store_redis_py.py lists the parts we rely on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from redis._parsers.base import BaseParser
from redis._parsers.encoders import Encoder
from redis._parsers.response_callbacks import get_response_callbacks
from redis.client import EMPTY_RESPONSE
from redis.commands.core import AsyncCoreCommands
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.event import EventDispatcher
from redis.exceptions import NoScriptError, RedisError

from reconciler_engine.errors import StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnavailable
from reconciler_engine.observe.words import quoted

__all__ = [
    "EMPTY_RESPONSE",
    "ENCODER",
    "NO_EVENTS",
    "REDIS_CLUSTER_HASH_SLOTS",
    "RESPONSE_CALLBACKS",
    "AsyncCoreCommands",
    "Encoder",
    "NoScriptError",
    "callback_options",
    "has_moved",
    "key_slot",
    "reply_error",
]

ResponseCallback = Callable[..., Any]

# Callbacks that give replies the shapes of redis-py over RESP2, by the command's upper-case name.
RESPONSE_CALLBACKS: Final[dict[str, ResponseCallback]] = {
    name.upper(): callback for name, callback in get_response_callbacks(user_protocol=2, legacy_responses=True).items()
}

# redis-py has no type annotations for these two.
_new_encoder: Callable[..., Encoder] = Encoder
_parse_error: Callable[[str], RedisError] = BaseParser.parse_error

# The part of `get_encoder()` that redis-py's commands use.
ENCODER: Final = _new_encoder("utf-8", "strict", decode_responses=False)

# The command layer's type requires it; no command dispatches events.
NO_EVENTS: Final = EventDispatcher({})

# Options of `execute_command` for redis-py's own connections and caches, which callbacks do not take.
_STEERING: Final = frozenset({EMPTY_RESPONSE, "NEVER_DECODE", "keys"})

# Errors of a server that is up but cannot serve now. A later try, or a new connection after a failover, can help.
_BUSY_CODES: Final = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "READONLY", "TRYAGAIN", "UNBLOCKED"}
)
# Text that servers before 7.0 put before their own error when they refuse a script's write.
_WRAPPED: Final = re.compile(
    r"^ERR Error running script \(call to f_[0-9a-f]{40}\): (?:@user_script: ?\d+: ){2}-(?=[A-Z])"
)
# Errors of a server that takes no writes, such as a replica. Another server behind the same address may take them.
_MOVED_CODES: Final = frozenset({"MASTERDOWN", "NOREPLICAS", "READONLY", "UNBLOCKED"})
_FULL_CODES: Final = {
    "MISCONF": "redis takes no writes: it cannot write to its disk, which may be full (MISCONF)",
    "OOM": "redis takes no writes: its memory is full, see maxmemory (OOM)",
}
_DENIED_CODES: Final = frozenset({"NOAUTH", "NOPERM", "WRONGPASS"})
_MAX_CLIENTS: Final = "max number of clients reached"
_DENIED: Final = re.compile(r"invalid password$|^ERR (?:The user executing the script can't|ACL failure in script:) ")
"""Denials whose code is ERR: of servers before 6.2, and of commands that a script calls."""


def reply_error(text: str) -> StoreError:
    """Translate the text of an error reply, such as `WRONGTYPE Operation against ...`.

    The class says who must act; `code` is the server's error word. redis-py's exception for the text is the cause.
    """
    text = quoted(_WRAPPED.sub("", text))
    code = text.split(" ", 1)[0]
    if not code.isupper():
        code = "ERR"
    error: StoreError
    if code in _BUSY_CODES or _MAX_CLIENTS in text:
        error = StoreUnavailable(f"redis cannot serve now: {text}", code=code)
    elif code in _DENIED_CODES or _DENIED.search(text):
        error = StoreDenied(f"redis denied the command: {text}", code=code)
    elif code in _FULL_CODES:
        error = StoreFull(_FULL_CODES[code], code=code)
    else:
        error = StoreRefused(f"redis refused the command: {text}", code=code)
    error.__cause__ = _parse_error(text)
    return error


def has_moved(reply: object) -> bool:
    """Whether a reply says that its server does not take writes any more, or not now."""
    return isinstance(reply, StoreUnavailable) and reply.code in _MOVED_CODES


def callback_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an `execute_command` call that its response callback takes."""
    if _STEERING.isdisjoint(options):
        return options
    return {name: value for name, value in options.items() if name not in _STEERING}

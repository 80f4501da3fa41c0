"""Properties of commands: how long they block, whether they change the connection, and which keys they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from reconciler_engine.steps import Command

# Longest time that one command may block (s). To wait longer, a caller sends it again.
MAX_BLOCK_S: Final = 60.0

# Commands that change the state of the connection, which another task uses next.
_LASTING: Final = frozenset(
    {
        "ASKING",
        "AUTH",
        "HELLO",
        "MONITOR",
        "PSUBSCRIBE",
        "PSYNC",
        "QUIT",
        "READONLY",
        "READWRITE",
        "RESET",
        "SELECT",
    }
    | {"SSUBSCRIBE", "SUBSCRIBE", "SYNC", "WATCH", "CLIENT REPLY", "CLIENT TRACKING"}
)
# Commands without keys.
_KEYLESS: Final = frozenset(
    {
        *("ACL", "ASKING", "AUTH", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "DEBUG", "DISCARD", "ECHO"),
        *("EXEC", "FLUSHALL", "FLUSHDB", "FUNCTION", "HELLO", "INFO", "KEYS", "LASTSAVE", "LATENCY", "MODULE"),
        *("MULTI", "PING", "PUBLISH", "PUBSUB", "RANDOMKEY", "ROLE", "SCAN", "SCRIPT", "SENTINEL", "SLOWLOG"),
        *("SUBSCRIBE", "TIME", "UNSUBSCRIBE", "WAIT", "WAITAOF"),
    }
)
# Index of the number of keys, after which the keys follow.
_COUNTED: Final = {
    **dict.fromkeys(("EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO", "BLMPOP", "BZMPOP"), 2),
    **dict.fromkeys(("LMPOP", "ZMPOP", "SINTERCARD", "ZINTERCARD", "ZINTER", "ZUNION", "ZDIFF"), 1),
}
# Commands whose key follows a subcommand.
_AFTER_SUBCOMMAND: Final = frozenset({"MEMORY", "OBJECT", "XGROUP", "XINFO"})

_TRANSACTION_ENDS: Final = frozenset({"EXEC", "DISCARD"})
_TRANSACTION: Final = _TRANSACTION_ENDS | {"MULTI"}


def check_single(command: Command) -> None:
    """Check that a command may be sent alone over a shared connection.

    Raises:
        ValueError: It changes the connection for its next user, or is a part of a transaction.
    """
    name = _name(command)
    _check_leaves_no_trace(name)
    if name in _TRANSACTION:
        raise ValueError(f"{name} alone changes the connection for its next user; send the transaction by pipe()")


def check_batch(commands: Sequence[Command]) -> None:
    """Check that a batch neither blocks nor changes the connection for its next user.

    Raises:
        ValueError: A command blocks or changes the connection, or a MULTI and its EXEC or DISCARD are not both in the
            batch.
    """
    # Check each distinct first word once: a batch is long and has few of them.
    words = {command[0] for command in commands}
    names = {text_of(word).upper() for word in words}
    for name in names:
        _check_leaves_no_trace(name)
    if "CLIENT" in names or not _WAITS.keys().isdisjoint(names):
        for command in commands:
            _check_leaves_no_trace(_name(command))
            if block_s(command) is not None:
                raise ValueError(f"{_name(command)} blocks; send it by itself")
    if not _TRANSACTION.isdisjoint(names):
        _check_transactions(commands)


def block_s(command: Command) -> float | None:
    """Return the longest time that `command` may block (s); None if the server answers at once.

    Raises:
        ValueError: It would block forever, or longer than MAX_BLOCK_S.
    """
    read = _WAITS.get(text_of(command[0]).upper())
    seconds = None if read is None else read(command)
    if seconds is not None and not 0 < seconds <= MAX_BLOCK_S:
        raise ValueError(
            f"{_name(command)} would block for {seconds:g} s (0 is for ever); allowed are more than 0 "
            f"and at most {MAX_BLOCK_S:g}"
        )
    return seconds


def keys_of(command: Command) -> Sequence[str | float | bytes]:
    """Return a command's keys: all if it counts them or reads streams, else only the first; empty if it has none."""
    words = text_of(command[0]).upper().split()
    name = words[0]
    if name in _KEYLESS:
        return ()
    if name in _COUNTED:
        at = _COUNTED[name]
        return command[at + 1 : at + 1 + int(command[at])]
    if name in _AFTER_SUBCOMMAND:
        return command[3 - len(words) : 4 - len(words)]
    if name in {"XREAD", "XREADGROUP"}:
        at = next((at for at, word in enumerate(command) if text_of(word).upper() == "STREAMS"), len(command)) + 1
        return command[at : at + (len(command) - at) // 2]
    return command[2:3] if name == "BITOP" else command[1:2]


def _check_leaves_no_trace(name: str) -> None:
    if name in _LASTING:
        raise ValueError(f"{name} changes the connection for its next user")


def _check_transactions(commands: Sequence[Command]) -> None:
    is_open = False
    for command in commands:
        name = _name(command)
        if name in _TRANSACTION:
            if is_open == (name == "MULTI"):
                raise ValueError(f"{name} without its other half in the same batch")
            is_open = not is_open
    if is_open:
        raise ValueError("MULTI without EXEC or DISCARD in the same batch")


def _name(command: Command) -> str:
    name = text_of(command[0]).upper()
    if name == "CLIENT" and len(command) > 1:
        return f"{name} {text_of(command[1]).upper()}"
    return name


def text_of(argument: str | float | bytes) -> str:
    """Return an argument as text; bytes that are not UTF-8 become replacement characters."""
    return argument.decode("utf-8", "replace") if isinstance(argument, bytes) else str(argument)


def _block_option_s(command: Command) -> float | None:
    for index, argument in enumerate(command[:-1]):
        word = text_of(argument).upper()
        if word == "BLOCK":
            return float(command[index + 1]) / 1000
        if word == "STREAMS":
            return None
    return None


def _last_s(command: Command) -> float:
    return float(command[-1])


def _last_ms(command: Command) -> float:
    return float(command[-1]) / 1000


def _first_s(command: Command) -> float:
    return float(command[1])


_WAITS: Final[dict[str, Callable[[Command], float | None]]] = {
    "BLMOVE": _last_s,
    "BLMPOP": _first_s,
    "BLPOP": _last_s,
    "BRPOP": _last_s,
    "BRPOPLPUSH": _last_s,
    "BZMPOP": _first_s,
    "BZPOPMAX": _last_s,
    "BZPOPMIN": _last_s,
    "WAIT": _last_ms,
    "WAITAOF": _last_ms,
    "XREAD": _block_option_s,
    "XREADGROUP": _block_option_s,
}

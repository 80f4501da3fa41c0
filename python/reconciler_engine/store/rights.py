"""Rights on the server: the rules of an ACL, and whether a user may do all that an engine does, asked before work.

Under an engine at work a right that lapses is an outage, and is waited for; before that it is a fault of the settings.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from reconciler_engine.errors import StoreDenied
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.steps import Command
from reconciler_engine.store.client.server_check import denied
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.other_layouts import keys_read
from reconciler_engine.store.scope import Layout, Scope

Role = Literal["engine", "reader", "gate", "bot"]

_CONNECTION: Final = ("ping", "client|setname")
# Without INFO a slot that was proved empty counts as missing.
_GATE: Final = ("eval", "evalsha", "hmget", "info", "subscribe", "time", "zcount", "zrangebyscore", "zrevrangebyscore")
_PERMITS: Final = ("hdel", "hexists", "hget", "hincrby", "hkeys", "hlen", "hset", "pexpire")
_READER: Final = (
    *("exists", "get", "hget", "hgetall", "hkeys", "hlen", "hscan", "llen", "lrange", "mget", "pttl", "scard", "xlen"),
    *("xpending", "xrange", "xrevrange", "zcard", "zrange"),
)
_ENGINE: Final = (
    *("blpop", "config|get", "del", "hdel", "hexists", "hincrby", "hset", "lpop", "pexpire", "publish"),
    *("rpush", "sadd", "script|load", "set", "sismember", "srem", "xack", "xadd", "xclaim", "xdel", "xgroup"),
    *("xinfo", "xreadgroup", "xtrim", "zadd", "zrem", "zremrangebyrank", "zremrangebyscore"),
)
_COMMANDS: Final = {
    "engine": (*_CONNECTION, *_GATE, *_READER, *_ENGINE),
    "reader": (*_CONNECTION, *_GATE, *_READER),
    "gate": (*_CONNECTION, *_GATE),
    "bot": (*_CONNECTION, *_GATE, *_PERMITS),
}

# No product has a name of one letter repeated so.
_NOBODY: Final = Series("ZZZZZZZZ-ZZZZZZZZ", Timeframe.M1)


async def check_rights(client: TrioRedis, scope: Scope) -> None:
    """Try each command that passes and workers use, once, where it changes nothing.

    Raises:
        ConfigError: The user may not use one of them, or not with these keys.
        StoreUnavailable: Redis did not answer.
    """
    replies = await client.pipe(_commands(scope))
    refusal = next((reply for reply in replies if isinstance(reply, StoreDenied)), None)
    if refusal is not None:
        raise denied(client, refusal) from refusal


def _commands(scope: Scope) -> list[Command]:
    key, candles, beside = scope.key("rights"), scope.candle_key(_NOBODY), scope.evidence_key(_NOBODY)
    reads: list[tuple[Any, ...]] = [
        *(("EXISTS", other) for other in keys_read(scope, _NOBODY)),
        ("TIME",), ("GET", key), ("MGET", key), ("EXISTS", key), ("PTTL", key),
        ("HGET", key, "f"), ("HMGET", key, "f"), ("HMGET", beside, "f"), ("HKEYS", key), ("HGETALL", key),
        ("HSCAN", key, 0), ("HLEN", key), ("SCARD", key), ("SISMEMBER", key, "m"), ("LLEN", key), ("LRANGE", key, 0, 0),
        ("ZCOUNT", candles, 0, 0), ("ZRANGE", candles, 0, 0), ("ZRANGEBYSCORE", candles, 0, 0),
        ("ZCARD", candles), ("ZREVRANGEBYSCORE", candles, 0, 0), ("HEXISTS", key, "f"),
        ("XLEN", key), ("XRANGE", key, "-", "+"), ("XREVRANGE", key, "+", "-"), ("XPENDING", key, "g"),
        ("XINFO", "CONSUMERS", key, "g"), ("EVAL", "return 1", 0), ("EVALSHA", "0" * 40, 0),
    ]  # fmt: skip
    # Removing from an absent key removes nothing, and XX adds nothing.
    writes: list[tuple[Any, ...]] = [
        ("SET", key, "", "XX"), ("DEL", key), ("HDEL", key, "f"), ("HDEL", beside, "f"), ("PEXPIRE", key, 1),
        ("PTTL", candles), ("PEXPIRE", candles, 1),
        ("ZADD", candles, "XX", 0, "m"), ("ZREM", candles, "m"), ("SREM", key, "m"),
        ("ZREMRANGEBYRANK", candles, 0, 0),
        ("LPOP", key), ("XDEL", key, "1-1"), ("XACK", key, "g", "1-1"), ("XCLAIM", key, "g", "c", 0, "1-1"),
        ("XREADGROUP", "GROUP", "g", "c", "STREAMS", key, ">"), ("XGROUP", "DELCONSUMER", key, "g", "c"),
        ("XADD", key, "NOMKSTREAM", "*", "f", "v"),
    ]  # fmt: skip
    # These make the keys they need, and remove them before another process looks.
    makers: list[tuple[Any, ...]] = [
        ("HSET", key, "f", "v"), ("HINCRBY", key, "n", 1), ("DEL", key), ("SADD", key, "m"), ("DEL", key),
        ("RPUSH", key, "x"), ("DEL", key),
    ]  # fmt: skip
    return [*reads, *writes, *makers]


def acl_rules(role: Role, layout: Layout, user_id: int, exchange_id: int) -> list[str]:
    """Return the rules behind `ACL SETUSER NAME`; the operator adds the password.

    Only its own keys are named: of other layouts an engine and a reader look whether a candle key is there.
    """
    own = f"{layout.candles(user_id, exchange_id)}:*"
    keys = [own, f"{{{own}"]
    if role == "bot":
        # Budgets and their account carry the exchange's host alone.
        keys += ["recon:{*}:budget:*", "recon:{*}:use"]
    elif role != "gate":
        keys += [f"{each.candles(user_id, exchange_id)}:*" for each in Layout if each is not layout]
        keys.append("recon:*")
    # Every wait for readiness hears repairs; only an engine announces closed bars.
    subjects = ("repaired", "close") if role == "engine" else ("repaired",)
    channels = [f"{layout.channel(user_id, exchange_id, subject)}:*" for subject in subjects]
    commands = sorted(dict.fromkeys(_COMMANDS[role]))
    return [
        "resetkeys",
        "resetchannels",
        "-@all",
        *(f"~{key}" for key in keys),
        *(f"&{channel}" for channel in channels),
        *(f"+{command}" for command in commands),
    ]

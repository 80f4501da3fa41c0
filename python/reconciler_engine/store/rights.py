"""Rights on the server: the ACL rules of each role, and a check before work that a user has the engine's rights.

A right missing before work is a fault of the settings. A right withdrawn while an engine works is treated as an
outage: the engine waits until it is granted again.
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
# Without the right to INFO, confirmed slots count as missing.
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

# No product has such a name.
_NOBODY: Final = Series("ZZZZZZZZ-ZZZZZZZZ", Timeframe.M1)


async def check_rights(client: TrioRedis, scope: Scope) -> None:
    """Try each command that passes and workers use once, in a form that changes no data.

    Raises:
        ConfigError: The user may not use one of the commands, or not with the engine's keys.
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
    # The keys are absent, so removals have no effect; XX and NOMKSTREAM prevent additions.
    writes: list[tuple[Any, ...]] = [
        ("SET", key, "", "XX"), ("DEL", key), ("HDEL", key, "f"), ("HDEL", beside, "f"), ("PEXPIRE", key, 1),
        ("PTTL", candles), ("PEXPIRE", candles, 1),
        ("ZADD", candles, "XX", 0, "m"), ("ZREM", candles, "m"), ("SREM", key, "m"),
        ("ZREMRANGEBYRANK", candles, 0, 0),
        ("LPOP", key), ("XDEL", key, "1-1"), ("XACK", key, "g", "1-1"), ("XCLAIM", key, "g", "c", 0, "1-1"),
        ("XREADGROUP", "GROUP", "g", "c", "STREAMS", key, ">"), ("XGROUP", "DELCONSUMER", key, "g", "c"),
        ("XADD", key, "NOMKSTREAM", "*", "f", "v"),
    ]  # fmt: skip
    # These create a key and delete it in the same pipeline.
    makers: list[tuple[Any, ...]] = [
        ("HSET", key, "f", "v"), ("HINCRBY", key, "n", 1), ("DEL", key), ("SADD", key, "m"), ("DEL", key),
        ("RPUSH", key, "x"), ("DEL", key),
    ]  # fmt: skip
    return [*reads, *writes, *makers]


def acl_rules(role: Role, layout: Layout, user_id: int, exchange_id: int) -> list[str]:
    """Return the rules to append to `ACL SETUSER NAME`; the operator adds the password.

    Keys are limited to those the role needs. Engines and readers also get the candle keys of other layouts, since they
    check whether those exist.
    """
    own = f"{layout.candles(user_id, exchange_id)}:*"
    keys = [own, f"{{{own}"]
    if role == "bot":
        # The tag of the keys of budgets and their use is the exchange's host.
        keys += ["recon:{*}:budget:*", "recon:{*}:use"]
    elif role != "gate":
        keys += [f"{each.candles(user_id, exchange_id)}:*" for each in Layout if each is not layout]
        keys.append("recon:*")
    # Each role may wait for readiness and so subscribes to repairs; only an engine publishes closed bars.
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

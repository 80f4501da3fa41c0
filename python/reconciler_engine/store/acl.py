"""The rules of an ACL that an engine, its readers, a caller of the gate and a bot with permits need, and no more."""

from __future__ import annotations

from typing import Final, Literal

from reconciler_engine.store.scope import Layout

Role = Literal["engine", "reader", "gate", "bot"]

_CONNECTION: Final = ("ping", "client|setname")
_GATE: Final = ("eval", "evalsha", "hmget", "subscribe", "time", "zcount", "zrangebyscore", "zrevrangebyscore")
_PERMITS: Final = ("hdel", "hexists", "hget", "hincrby", "hkeys", "hlen", "hset", "info", "pexpire")
_READER: Final = (
    *("exists", "get", "hget", "hgetall", "hkeys", "hlen", "hscan", "llen", "lrange", "mget", "pttl", "scard", "xlen"),
    *("xpending", "xrange", "xrevrange", "zcard", "zrange"),
)
_ENGINE: Final = (
    *("blpop", "config|get", "del", "hdel", "hexists", "hincrby", "hset", "info", "lpop", "pexpire", "publish"),
    *("rpush", "sadd", "script|load", "set", "sismember", "srem", "xack", "xadd", "xclaim", "xdel", "xgroup"),
    *("xinfo", "xreadgroup", "xtrim", "zadd", "zrem", "zremrangebyrank", "zremrangebyscore"),
)
_COMMANDS: Final = {
    "engine": (*_CONNECTION, *_GATE, *_READER, *_ENGINE),
    "reader": (*_CONNECTION, *_GATE, *_READER),
    "gate": (*_CONNECTION, *_GATE),
    "bot": (*_CONNECTION, *_GATE, *_PERMITS),
}


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

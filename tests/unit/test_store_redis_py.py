"""Behaviour of redis-py and hiredis that the product relies on; a new version that changes it fails here, by name."""

from __future__ import annotations

import inspect

import hiredis
import pytest
import redis
import redis.asyncio
import redis.exceptions
from redis._parsers.base import BaseParser
from redis.commands.core import AsyncCoreCommands

from reconciler_engine.errors import StoreDenied, StoreError, StoreFull, StoreRefused, StoreUnavailable
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.connection import pack
from reconciler_engine.store.client.redis_py import ENCODER, RESPONSE_CALLBACKS, callback_options, reply_error
from reconciler_engine.store.client.trio_redis import TrioRedis


def test_the_version_is_the_pinned_minor() -> None:
    assert redis.__version__.split(".")[:2] == ["8", "1"]


async def test_commands_end_in_execute_command_with_the_arguments_we_send() -> None:
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

    class Recorder(TrioRedis):
        async def execute_command(self, *args: str | float | bytes, **options: object) -> None:
            calls.append((args, options))

    recorder = Recorder(Address())
    await recorder.zrangebyscore("z", 1, 2, withscores=True)
    await recorder.set("k", "v", px=5, nx=True)
    await recorder.script_load("return 1")
    await recorder.xautoclaim("s", "g", "c", 5)
    assert [args for args, _ in calls] == [
        ("ZRANGEBYSCORE", "z", 1, 2, "WITHSCORES"),
        ("SET", "k", "v", "NX", "PX", 5),
        ("SCRIPT LOAD", "return 1"),
        ("XAUTOCLAIM", "s", "g", "c", 5, "0-0"),
    ]
    assert calls[0][1]["withscores"] is True


def test_the_command_layer_asks_nothing_of_a_client_but_what_ours_has() -> None:
    source = inspect.getsource(inspect.getmodule(AsyncCoreCommands))  # type: ignore[arg-type]
    for method in ("get_encoder", "get_connection_kwargs"):
        assert f"self.{method}()" in source
        assert callable(getattr(TrioRedis, method))
    assert "connection_pool" not in inspect.getsource(AsyncCoreCommands)
    assert ENCODER.decode_responses is False


def test_callbacks_give_the_shapes_of_resp2() -> None:
    assert RESPONSE_CALLBACKS["SET"](b"OK") is True
    assert RESPONSE_CALLBACKS["ZRANGEBYSCORE"]([b"a", b"1"], withscores=True) == [(b"a", 1.0)]
    assert RESPONSE_CALLBACKS["XREADGROUP"](None) == []
    assert RESPONSE_CALLBACKS["HGETALL"]([b"a", b"1"]) == {b"a": b"1"}
    assert RESPONSE_CALLBACKS["TIME"]([b"1", b"2"]) == (1, 2)
    # A script's reply is ours to read.
    assert "EVALSHA" not in RESPONSE_CALLBACKS
    assert "EVAL" not in RESPONSE_CALLBACKS


def test_no_callback_is_a_coroutine() -> None:
    assert [name for name, callback in RESPONSE_CALLBACKS.items() if inspect.iscoroutinefunction(callback)] == []


def test_our_callbacks_are_those_redis_py_would_use() -> None:
    theirs = redis.asyncio.Redis(protocol=2).response_callbacks
    assert set(theirs) == set(RESPONSE_CALLBACKS)
    assert theirs["zrange"] is RESPONSE_CALLBACKS["ZRANGE"]


def test_steering_options_do_not_reach_a_callback() -> None:
    assert callback_options({"keys": ["k"], "EMPTY_RESPONSE": [], "NEVER_DECODE": [], "withscores": True}) == {
        "withscores": True
    }


SCRIPT_DENIED = "ERR The user executing the script can't"


@pytest.mark.parametrize(
    ("text", "ours", "theirs"),
    [
        ("WRONGTYPE Operation against a key", StoreRefused, redis.exceptions.ResponseError),
        ("NOSCRIPT No matching script", StoreRefused, redis.exceptions.NoScriptError),
        ("NOGROUP No such key", StoreRefused, redis.exceptions.ResponseError),
        ("BUSYGROUP Consumer Group name already exists", StoreRefused, redis.exceptions.ResponseError),
        ("OOM command not allowed", StoreFull, redis.exceptions.OutOfMemoryError),
        ("MISCONF Redis is configured to save", StoreFull, redis.exceptions.ResponseError),
        ("EXECABORT Transaction discarded", StoreRefused, redis.exceptions.ExecAbortError),
        ("MOVED 3999 127.0.0.1:6381", StoreRefused, redis.exceptions.MovedError),
        ("READONLY You can't write against a read only replica.", StoreUnavailable, redis.exceptions.ReadOnlyError),
        ("LOADING Redis is loading the dataset in memory", StoreUnavailable, redis.exceptions.BusyLoadingError),
        ("BUSY Redis is busy running a script", StoreUnavailable, redis.exceptions.ResponseError),
        ("CLUSTERDOWN The cluster is down", StoreUnavailable, redis.exceptions.ClusterDownError),
        ("ERR max number of clients reached", StoreUnavailable, redis.exceptions.ConnectionError),
        ("NOAUTH Authentication required.", StoreDenied, redis.exceptions.AuthenticationError),
        ("WRONGPASS invalid username-password pair", StoreDenied, redis.exceptions.AuthenticationError),
        ("NOPERM this user has no permissions", StoreDenied, redis.exceptions.NoPermissionError),
        ("ERR invalid password", StoreDenied, redis.exceptions.AuthenticationError),
        (f"{SCRIPT_DENIED} run this command or subcommand script: 0a", StoreDenied, redis.exceptions.ResponseError),
        (f"{SCRIPT_DENIED} access at least one of the keys", StoreDenied, redis.exceptions.ResponseError),
        ("ERR ACL failure in script: No permissions", StoreDenied, redis.exceptions.ResponseError),
        ("ERR value is not an integer", StoreRefused, redis.exceptions.ResponseError),
    ],
)
def test_an_error_reply_is_sorted_by_who_must_act(text: str, ours: type[StoreError], theirs: type[Exception]) -> None:
    error = reply_error(text)
    assert type(error) is ours
    assert error.code == text.split(maxsplit=1)[0]
    assert text in str(error) or (ours is StoreFull and str(error).endswith(f"({error.code})"))
    assert type(error.__cause__) is theirs


@pytest.mark.parametrize("text", ["OOM command not allowed", "READONLY You can't write", "MISCONF Errors writing"])
def test_a_refusal_that_redis_6_wraps_when_it_meets_a_script_is_sorted_as_it_is(text: str) -> None:
    wrapped = reply_error(
        f"ERR Error running script (call to f_{'0a' * 20}): @user_script:41: @user_script: 41: -{text}"
    )
    bare = reply_error(text)
    assert (type(wrapped), wrapped.code, str(wrapped)) == (type(bare), bare.code, str(bare))
    assert type(wrapped.__cause__) is type(bare.__cause__)


def test_every_error_word_redis_py_knows_is_sorted() -> None:
    """A new word there wants a decision here."""
    assert set(BaseParser.EXCEPTION_CLASSES) == {
        *("ERR", "OOM", "WRONGPASS", "EXECABORT", "LOADING", "NOSCRIPT", "READONLY", "NOAUTH", "NOPERM"),
        *("ASK", "TRYAGAIN", "MOVED", "CLUSTERDOWN", "CROSSSLOT", "MASTERDOWN"),
    }


def test_hiredis_makes_errors_by_our_function_and_keeps_what_is_over() -> None:
    nothing = object()
    reader = hiredis.Reader(replyError=reply_error, notEnoughData=nothing)
    received = bytearray(b"*2\r\n:1\r\n-NOGROUP x\r\n+rest\r\nunread")
    reader.feed(memoryview(received)[:-6])  # type: ignore[arg-type]
    # The buffer is ours again: the reader keeps a copy.
    received[:] = b"x" * len(received)
    number, error = reader.gets()
    assert number == 1
    assert error.code == "NOGROUP"
    assert reader.has_data()
    assert reader.gets() == b"rest"
    assert not reader.has_data()
    assert reader.gets() is nothing


@pytest.mark.parametrize(
    ("command", "packed"),
    [
        (("GET", "k"), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
        (("SCRIPT LOAD", "x y"), b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$3\r\nx y\r\n"),
        (("SET", b"\x00", 1764000000123457), b"*3\r\n$3\r\nSET\r\n$1\r\n\x00\r\n$16\r\n1764000000123457\r\n"),
        (("ZADD", "z", 1.5, "é"), b"*4\r\n$4\r\nZADD\r\n$1\r\nz\r\n$3\r\n1.5\r\n$2\r\n\xc3\xa9\r\n"),
    ],
)
def test_commands_are_packed(command: tuple[str | float | bytes, ...], packed: bytes) -> None:
    assert pack(command) == packed


@pytest.mark.parametrize("argument", [None, True, ["a"], {"a": 1}])
def test_what_cannot_be_packed_is_named_by_type(argument: object) -> None:
    with pytest.raises(TypeError, match=f"argument 1 of 'GET' is {type(argument).__name__}; allowed are"):
        pack(("GET", argument))  # type: ignore[arg-type]
